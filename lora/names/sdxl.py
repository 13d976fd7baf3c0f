"""Module names of SDXL: ComfyUI's (Stability's UNet) and diffusers'.

Source: comfy/utils.py `unet_to_diffusers` (github comfyanonymous/ComfyUI) for SDXL's layout: three levels, two residual
blocks each, attention in the second and third. No weight is fused. Native names are taken for any layout; the numbers
of diffusers' blocks are turned into SDXL's.
"""

from __future__ import annotations

from collections.abc import Callable

from .table import NameTable, Rule, same

_ATTENTION = (
    "proj_in",
    "proj_out",
    *(f"transformer_blocks.{{}}.{attention}.to_{name}" for attention in ("attn1", "attn2")
      for name in ("q", "k", "v", "out.0")),
    "transformer_blocks.{}.ff.net.0.proj",
    "transformer_blocks.{}.ff.net.2",
    "norm",
    *(f"transformer_blocks.{{}}.norm{i}" for i in (1, 2, 3)),
)  # fmt: skip
# diffusers' name -> native name
_RESIDUAL = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "norm1": "in_layers.0",  # norms carry no pairs; LyCORIS can train them whole
    "norm2": "out_layers.0",
}
_WHOLE = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_LAST_LEVEL = 2

NATIVE = same(
    *(f"{place}.{module}" for place in ("input_blocks.{}.{}", "middle_block.{}", "output_blocks.{}.{}")
      for module in (*_ATTENTION, *_RESIDUAL.values())),
    "input_blocks.{}.0.op",
    "output_blocks.{}.{}.conv",
    *_WHOLE.values(),
)  # fmt: skip


def _input(residual: bool, below: str) -> Callable[..., str | None]:
    def native(level: int, block: int, *rest: int) -> str | None:
        if level > _LAST_LEVEL or block > 1 or (level == 0 and not residual):
            return None
        return f"input_blocks.{1 + 3 * level + block}.{0 if residual else 1}.{below.format(*rest)}"

    return native


def _output(residual: bool, below: str) -> Callable[..., str | None]:
    def native(level: int, block: int, *rest: int) -> str | None:
        if level > _LAST_LEVEL or block > 2 or (level == _LAST_LEVEL and not residual):
            return None
        return f"output_blocks.{3 * level + block}.{0 if residual else 1}.{below.format(*rest)}"

    return native


def _middle_residual(below: str) -> Callable[..., str | None]:
    return lambda block: f"middle_block.{2 * block}.{below}" if block < 2 else None


def _downsampler(level: int) -> str | None:
    return f"input_blocks.{3 * level + 3}.0.op" if level < _LAST_LEVEL else None


def _upsampler(level: int) -> str | None:
    return f"output_blocks.{3 * level + 2}.2.conv" if level < _LAST_LEVEL else None


DIFFUSERS = (
    *(Rule(f"down_blocks.{{}}.attentions.{{}}.{below}", _input(False, below)) for below in _ATTENTION),
    *(Rule(f"mid_block.attentions.0.{below}", f"middle_block.1.{below}") for below in _ATTENTION),
    *(Rule(f"up_blocks.{{}}.attentions.{{}}.{below}", _output(False, below)) for below in _ATTENTION),
    *(Rule(f"down_blocks.{{}}.resnets.{{}}.{name}", _input(True, native)) for name, native in _RESIDUAL.items()),
    *(Rule(f"mid_block.resnets.{{}}.{name}", _middle_residual(native)) for name, native in _RESIDUAL.items()),
    *(Rule(f"up_blocks.{{}}.resnets.{{}}.{name}", _output(True, native)) for name, native in _RESIDUAL.items()),
    Rule("down_blocks.{}.downsamplers.0.conv", _downsampler),
    Rule("up_blocks.{}.upsamplers.0.conv", _upsampler),
    *(Rule(name, native) for name, native in _WHOLE.items()),
)

TABLE = NameTable(native_rules=NATIVE, diffusers_rules=DIFFUSERS)

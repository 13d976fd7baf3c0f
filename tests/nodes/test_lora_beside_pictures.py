"""The examples' LoRA runs beside narrow weights, down to the picture: against kohya's forward on the same base.

The LoRAs are strong, so that merging shows: where the pictures beside the weights are equal, the merged ones are off by
up to 14, 17 and 19 of 255 (Flux, SD 3.5, SDXL) on bfloat16 weights, by 45, 50 and 46 on 8-bit ones.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from comfyui_eridiffusion.lora import find_checkpoints, read_lora, select_checkpoint
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.nodes.lora_runs import folders
from comfyui_eridiffusion.tests.nodes.test_lora_node_beside import in_type

EXAMPLES = Path(__file__).parents[2] / "examples"
VAE = {"flux": "vae16_small", "sd35": "vae16_small", "sdxl": "vae4_small"}
STEPS = 8
#: Flux in EriDiffusion's names: module of a block -> weight of the block, first row in model widths.
SLICES = {
    **{f"img_attn.to_{name}": ("img_attn.qkv", row) for row, name in enumerate("qkv")},
    **{f"txt_attn.to_{name}": ("txt_attn.qkv", row) for row, name in enumerate("qkv")},
    **{f"attn.to_{name}": ("linear1", row) for row, name in enumerate("qkv")},
    "proj_mlp": ("linear1", 3),
    "proj_out": ("linear2", 0),
}  # fmt: skip


class Scene:
    """An example model with weights of `dtype`, computed with in bfloat16, its conditioning and its run."""

    def __init__(self, nodes: dict[str, Any], family: str, dtype: torch.dtype) -> None:
        self.nodes, self.family = nodes, family
        spec = read_spec(EXAMPLES / "configs" / f"{family}.yaml")
        (self.model,) = nodes["EriExampleModelLoader"].execute(f"{family}_small.safetensors", family).args
        (clip,) = nodes["EriExampleCLIPLoader"].execute("text_small.safetensors", family).args
        (self.vae,) = nodes["EriExampleVAELoader"].execute(f"{VAE[family]}.safetensors", family).args
        in_type(self.model.model, dtype)
        encode = nodes["CLIPTextEncode"]()
        self.conditions = [encode.encode(clip, text)[0] for text in (spec.items[0].prompt, "")]
        self.run = EXAMPLES / "runs" / spec.name
        self.channels, self.cfg = (4 if family == "sdxl" else 16), (1.0 if family == "flux" else 4.0)

    def with_lora(self, apply: str) -> Any:
        chosen = {"run": self.run.name, "step": 0, "mode": "latest", "strength_model": 1.0, "strength_clip": 1.0}
        return self.nodes["EriLoraAtStep"].execute(model=self.model, **chosen, apply=apply).args[0]

    def picture(self, model: Any) -> Tensor:
        latent = {"samples": torch.zeros(1, self.channels, 8, 8)}
        (sampled,) = self.nodes["KSampler"]().sample(
            model, 5, STEPS, self.cfg, "euler", "simple", *self.conditions, latent, denoise=1.0
        )
        (image,) = self.nodes["VAEDecode"]().decode(self.vae, sampled)
        return (image.clamp(0, 1) * 255).round().int()

    def place(self, module: str) -> tuple[str, int]:
        """Path of the layer that a module of the file changes, and the slice's first row in model widths."""
        for name, (weight, row) in SLICES.items() if self.family == "flux" else ():
            if module.endswith(f".{name}"):
                block = module.removesuffix(f".{name}")
                return f"diffusion_model.{block}.{weight}", row
        return f"diffusion_model.{module}", 0

    def as_kohya(self) -> None:
        """sd-scripts networks/lora_flux.py: LoRAModule.forward, with split_dims for the slices of a fused weight."""
        path = select_checkpoint(find_checkpoints(self.run), None, mode="latest").path
        tensors, scale = load_file(path), next(one.scale for one in read_lora(path).adapters)
        layers: dict[str, dict[int, tuple[Tensor, Tensor]]] = defaultdict(dict)
        for name in tensors:
            if name.endswith(".lora_A.weight") and not name.startswith(("__opt__", "text_encoders")):
                module = name.removesuffix(".lora_A.weight")
                layer, row = self.place(module)
                layers[layer][row] = (tensors[name], tensors[f"{module}.lora_B.weight"])
        for layer, parts in layers.items():
            module = self.model.model.get_submodule(layer)
            assert sum(up.shape[0] for _, up in parts.values()) == module.weight.shape[0], layer

            def forward(x: Tensor, original: Any = module.forward, parts: Any = parts) -> Tensor:
                matrices = [[one.to(x.dtype) for one in parts[row]] for row in sorted(parts)]
                inner = [functional.linear(functional.linear(x, down), up) for down, up in matrices]
                return original(x) + torch.cat(inner, dim=-1) * 1.0 * scale  # type: ignore[no-any-return]

            module.forward = forward


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("family", VAE)
def test_pictures_are_those_of_the_unmerged_lora(comfy_host: Any, family: str, dtype: torch.dtype) -> None:
    ours, theirs = (Scene(comfy_host.nodes, family, dtype) for _ in range(2))
    theirs.as_kohya()
    expected = theirs.picture(theirs.model)
    with folders(loras=EXAMPLES / "runs"):
        beside, merged = (ours.picture(ours.with_lora(way)) for way in ("beside the weights", "into the weights"))
    alone = ours.picture(ours.model)
    assert torch.equal(beside, expected)
    assert (alone - expected).abs().max() > 100
    assert (merged - expected).abs().max() > 5

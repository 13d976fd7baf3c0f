"""Files that look like LoRAs and cannot be used. Each has its reason, before any dialect is tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from ..errors import LoraError
from .dialects import OPTIMIZER_PREFIX
from .metadata import LoraFile
from .suffixes import EVIDENCE
from .tensor_names import KEPT, TensorNames

_CHECKPOINT = "Choose a LoRA checkpoint of the run"
_EXPORT = "Export the LoRA as lora_A/lora_B or lora_down/lora_up pairs"


@dataclass(frozen=True)
class Refusal:
    """A kind of file: what it is, when one is that, and what to do instead."""

    reason: str
    applies: Callable[[TensorNames], bool]
    remedy: str = _CHECKPOINT


def refuse_unusable(file: LoraFile) -> None:
    """Raise LoraError when the file can be no LoRA for the supported families, with the reason and the keys."""
    refusal = _refusal(file.names)
    if refusal is not None:
        raise LoraError(refusal.reason, path=file.path, keys=_shown(file.names), remedy=refusal.remedy)


@lru_cache(maxsize=KEPT)
def _refusal(names: TensorNames) -> Refusal | None:
    return next((refusal for refusal in REFUSALS if refusal.applies(names)), None)


def _shown(names: TensorNames) -> Iterable[str]:
    return names.parts if any(part.kind in EVIDENCE for part in names.parts.values()) else names.shapes


def _every(pattern: str) -> Callable[[TensorNames], bool]:
    compiled = re.compile(pattern)
    return lambda names: bool(names.shapes) and all(compiled.search(name) for name in names.shapes)


def _some(pattern: str) -> Callable[[TensorNames], bool]:
    compiled = re.compile(pattern)
    return lambda names: any(compiled.search(name) for name in names.shapes)


def _no_pair(applies: Callable[[TensorNames], bool]) -> Callable[[TensorNames], bool]:
    """Only files in which nothing is an adapter tensor."""
    return lambda names: not any(part.kind in EVIDENCE for part in names.parts.values()) and applies(names)


def _no_block_number(names: TensorNames) -> bool:
    return bool(names.modules) and all(_FLUX_LAYER.match(module) for module in names.modules)


# Names of whole models: full checkpoints, ComfyUI's and diffusers' diffusion models.
_WHOLE_MODEL = (
    r"^(?:model\.diffusion_model|first_stage_model|conditioner|cond_stage_model)\."
    r"|^(?:model\.|diffusion_model\.|transformer\.|unet\.)?(?:double_blocks|single_blocks|joint_blocks|input_blocks"
    r"|output_blocks|middle_block|down_blocks|up_blocks|mid_block|(?:single_)?transformer_blocks)\.\d.*\.weight$"
)
_FLUX_LAYER = re.compile(r"(?:img|txt)_(?:attn|mlp|mod)(?:\.|$)|linear[12]$|modulation\.lin$")
# Nunchaku's fused layers, which no trainer has (github nunchux-ai/nunchaku, lora/flux/diffusers_converter.py)
_NUNCHAKU = r"transformer_blocks\.\d+\.(?:(?:qkv|out)_proj(?:_context)?|mlp_(?:context_)?fc[12])\."
_VAE = r"^(?:encoder|decoder|quant_conv|post_quant_conv)\."
_EMBEDDING = r"^(?:emb_params|clip_l|clip_g|t5|t5xxl)$|^bundle_emb\."

#: Adapters of other kinds, and a name that only they have (github huggingface/peft, tuners; ControlGenAI/T-LoRA).
_OTHER_ADAPTERS = {
    "VeRA": r"vera_(?:lambda_[bd]|[AB])\b",
    "BOFT as PEFT stores it": r"\.boft_[RS]\b",
    "HRA": r"\.hra_u\b",
    "FourierFT": r"\.fourierft_spectrum\b",
    "VB-LoRA": r"vblora_(?:logits|vector_bank)",
    "Bone or MiSS": r"\.(?:bone|miss)_block\b",
    "RandLora": r"\.randlora_",
    "SHiRA": r"\.shira_weight\b",
    "T-LoRA": r"\.(?:[pq]_layer\.weight|lambda_layer)$",
}
#: What steers a model by pictures: how it is called, a name that only it has, and what loads it.
_STEERING = {
    "an EasyControl adapter": (r"\.(?:[qkv]|proj)_loras\.\d", "a node pack for EasyControl"),
    "an IP-Adapter": (r"^(?:image_proj|ip_adapter(?:_proj_model)?)\.|\.ip_adapter_", "a node pack for IP-Adapters"),
    "a PuLID adapter": (r"^pulid_", "a node pack for PuLID"),
    "a ControlNet": (r"^controlnet_", "ComfyUI's Load ControlNet Model"),
    "a T2I-Adapter": (r"^(?:adapter\.)?body\.\d", "ComfyUI's Load ControlNet Model"),
}

REFUSALS: tuple[Refusal, ...] = (
    Refusal("not a LoRA: the file holds no tensors", lambda names: not names.shapes),
    Refusal(
        "holds EMA shadow weights (a moving average of the adapter, kept beside it), not the adapter itself",
        _every(r"^(?:ema|shadow|ema_model)\.|\.ema$"),
        "Choose the file beside it, lora.safetensors, or have the trainer save the averaged weights as a LoRA",
    ),
    Refusal(
        "holds numbered tensors without module names (EriDiffusion V1's Chroma loop): nothing says where they belong",
        _every(r"^lora_param_\d+$"),
        "Save the LoRA with a trainer version that writes names",
    ),
    Refusal(
        "its modules carry no block number (EriDiffusion V1's first Flux writer): the same name stands for every "
        "block, and that trainer never applied these weights",
        _no_block_number,
        "Train again with EriDiffusion V2, or with V1's crates/training, whose files are named lora.block00…",
    ),
    Refusal("not a LoRA: it is optimizer state", _every(rf"^{OPTIMIZER_PREFIX}")),
    Refusal("not a LoRA: it is an embedding (textual inversion)", _no_pair(_every(_EMBEDDING))),
    Refusal("not a LoRA: it is optimizer state", _no_pair(_some(r"exp_avg|^optimizer[./]"))),
    Refusal("not a LoRA: it is a VAE", _no_pair(_every(_VAE))),
    Refusal(
        "holds OFT rotations as PEFT and OneTrainer store them (oft_R), which ComfyUI's loader cannot read",
        _some(r"\.oft_[RS]\b"),
        _EXPORT,
    ),
    Refusal(
        "holds sd-scripts' OFT (oft_unet_…), whose names and constraint ComfyUI's loader does not have",
        _some(r"^oft_unet_"),
        _EXPORT,
    ),
    Refusal(
        "holds diag-OFT as LyCORIS 2.0's development versions stored it (oft_diag), which ComfyUI's loader cannot read",
        _some(r"\.oft_diag$"),
        "Save it again with a LyCORIS that writes oft_blocks",
    ),
    Refusal(
        "was converted for Nunchaku's quantised model: the rows of its matrices are packed in that model's order",
        _some(_NUNCHAKU),
        "Choose the LoRA that it was converted from",
    ),
    Refusal(
        "is a Control-LoRA, a ControlNet in low-rank form, and no LoRA for the model itself",
        _some(r"^lora_controlnet$|^(?:input_hint_block|zero_convs)\."),
        "Load it with ComfyUI's Load ControlNet Model",
    ),
    Refusal(
        "is a ControlNet-LLLite, which steers by an image, and no LoRA",
        _some(r"^lllite_|\.lllite_"),
        "Load it with a node pack for LLLite",
    ),
    *(
        Refusal(f"is {name}, which steers by a picture, and no LoRA", _some(pattern), f"Load it with {loader}")
        for name, (pattern, loader) in _STEERING.items()
    ),
    *(
        Refusal(f"holds {name}, a kind of adapter that ComfyUI's loader cannot read", _some(pattern), _EXPORT)
        for name, pattern in _OTHER_ADAPTERS.items()
    ),
    Refusal(
        "holds AdaLoRA, whose singular values (lora_E) ComfyUI's loader would leave out",
        _some(r"\.lora_E(?:\.|$)"),
        _EXPORT,
    ),
    Refusal(
        "stores its matrices as fp8 with scales beside them, which ComfyUI's loader would leave out",
        _some(r"\.lora_(?:A|B|up|down)\.(?:scale_weight|weight_scale)$"),
        "Choose the same LoRA in bf16 or fp16",
    ),
    Refusal("holds IA³ scales, which are not supported", _no_pair(_some(r"\.on_input$|\.ia3_l$")), _EXPORT),
    Refusal("not a LoRA: it is a full checkpoint, a whole model without low-rank pairs", _no_pair(_some(_WHOLE_MODEL))),
    Refusal("not a LoRA: none of its tensors belongs to a low-rank pair", _no_pair(lambda names: True)),
)

"""Where the families' usual model files can be had: the front end offers them for download when they are missing."""

from __future__ import annotations

from typing import Final

_HF: Final = "https://huggingface.co"

#: File name -> where it can be downloaded, and the host's model folder it belongs into.
DOWNLOADS: Final[dict[str, tuple[str, str]]] = {
    "flux1-dev.safetensors": (
        f"{_HF}/Comfy-Org/flux1-dev/resolve/main/flux1-dev.safetensors", "diffusion_models",
    ),
    "flux1-schnell.safetensors": (
        f"{_HF}/Comfy-Org/flux1-schnell/resolve/main/flux1-schnell.safetensors", "diffusion_models",
    ),
    "clip_l.safetensors": (
        f"{_HF}/comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors", "text_encoders",
    ),
    "clip_g.safetensors": (
        f"{_HF}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/text_encoders/clip_g.safetensors", "text_encoders",
    ),
    "t5xxl_fp16.safetensors": (
        f"{_HF}/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp16.safetensors", "text_encoders",
    ),
    "t5xxl_fp8_e4m3fn.safetensors": (
        f"{_HF}/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp8_e4m3fn.safetensors", "text_encoders",
    ),
    "ae.safetensors": (
        f"{_HF}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/ae.safetensors", "vae",
    ),
    "sd3.5_large.safetensors": (
        f"{_HF}/stabilityai/stable-diffusion-3.5-large/resolve/main/sd3.5_large.safetensors", "checkpoints",
    ),
    "sd3.5_medium.safetensors": (
        f"{_HF}/stabilityai/stable-diffusion-3.5-medium/resolve/main/sd3.5_medium.safetensors", "checkpoints",
    ),
    "sd3.5_large_turbo.safetensors": (
        f"{_HF}/stabilityai/stable-diffusion-3.5-large-turbo/resolve/main/sd3.5_large_turbo.safetensors", "checkpoints",
    ),
    "sd_xl_base_1.0.safetensors": (
        f"{_HF}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors", "checkpoints",
    ),
}  # fmt: skip


def download(file: str) -> dict[str, str] | None:
    """The front end's entry for a model file `{name, url, directory}`, None where no source is known."""
    found = DOWNLOADS.get(file)
    return None if found is None else {"name": file, "url": found[0], "directory": found[1]}

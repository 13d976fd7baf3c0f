"""The examples' LoRA runs in at least four dialects: the same pixels from each, through the host and the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.lora import find_checkpoints, merged_delta, read_lora, select_checkpoint
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.lora.demo_dialects import convert

EXAMPLES = Path(__file__).parents[2] / "examples"
FAMILIES = ("flux", "sd35", "sdxl")
VAE = {"flux": "vae16_small", "sd35": "vae16_small", "sdxl": "vae4_small"}


def last_file(family: str) -> Path:
    run = EXAMPLES / "runs" / read_spec(EXAMPLES / "configs" / f"{family}.yaml").name
    return select_checkpoint(find_checkpoints(run), None, mode="latest").path


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    """A folder that the host takes for its only loras folder."""
    import folder_paths

    before = folder_paths.folder_names_and_paths["loras"]
    folder_paths.folder_names_and_paths["loras"] = ([str(tmp_path)], before[1])
    folder_paths.filename_list_cache.pop("loras", None)
    yield tmp_path
    folder_paths.folder_names_and_paths["loras"] = before
    folder_paths.filename_list_cache.pop("loras", None)


class Sampler:
    """One family's example model in the host, and pictures from it."""

    def __init__(self, nodes: dict[str, Any], family: str) -> None:
        self.nodes = nodes
        self.prompt = read_spec(EXAMPLES / "configs" / f"{family}.yaml").items[0].prompt
        (self.model,) = nodes["EriExampleModelLoader"].execute(f"{family}_small.safetensors", family).args
        (self.clip,) = nodes["EriExampleCLIPLoader"].execute("text_small.safetensors", family).args
        (self.vae,) = nodes["EriExampleVAELoader"].execute(f"{VAE[family]}.safetensors", family).args
        self.channels, self.cfg = (4 if family == "sdxl" else 16), (1.0 if family == "flux" else 4.0)

    def picture(self, run: str | None) -> tuple[Tensor, Tensor]:
        """Latent and 8-bit picture of two steps with the LoRA file `run` (None = without)."""
        model, clip = self.model, self.clip
        if run is not None:
            model, clip = self.nodes["EriLoraAtStep"].execute(
                run=run, step=0, mode="latest", strength_model=1.0, strength_clip=1.0, model=model, clip=clip
            ).args[:2]  # fmt: skip
        encode = self.nodes["CLIPTextEncode"]()
        (positive,), (negative,) = encode.encode(clip, self.prompt), encode.encode(clip, "")
        latent = {"samples": torch.zeros(1, self.channels, 8, 8)}
        (sampled,) = self.nodes["KSampler"]().sample(
            model, 5, 2, self.cfg, "euler", "simple", positive, negative, latent, denoise=1.0
        )
        (image,) = self.nodes["VAEDecode"]().decode(self.vae, sampled)
        return sampled["samples"], (image.clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_pixels_in_every_dialect(comfy_host: Any, loras: Path, family: str) -> None:
    source = last_file(family)
    (loras / "original.safetensors").write_bytes(source.read_bytes())
    sampler = Sampler(comfy_host.nodes, family)
    latent, expected = sampler.picture("original.safetensors")
    assert (sampler.picture(None)[0] - latent).abs().max() > 0.3 * latent.std()
    deltas = merged_delta(read_lora(source))
    dialects = []
    for dialect, path in convert(source, family, loras):
        lora = read_lora(path, family=family)
        assert (lora.dialect, lora.unmatched, lora.ignored) == (dialect, (), {})
        found = merged_delta(lora)
        assert found.keys() == deltas.keys()
        for name, change in deltas.items():
            assert torch.allclose(found[name], change, atol=1e-6 * change.abs().max().item()), f"{dialect} {name}"
        picture = sampler.picture(path.name)[1]
        assert torch.equal(picture, expected), f"{dialect}: {(picture != expected).sum()} values differ"
        dialects.append(dialect)
    assert len({*dialects}) >= 4

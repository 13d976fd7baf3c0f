"""SD 3.5's skip-layer guidance, whole graphs in the host: generated ones, and one of stock nodes wired by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfyui_eridiffusion.tests.nodes.test_graph_in_host import node
from comfyui_eridiffusion.tests.workflows.test_styles_equal import MODELS, Host, furthest, host, spec_of  # noqa: F401
from comfyui_eridiffusion.workflows import build

SPEC = spec_of("sd35", "native")
#: The small model has layers 0 to 2; the window holds most of the few steps.
SKIPPED = replace(SPEC, sampling={"skip_layers": "1", "skip_scale": 2.5, "skip_start": 0.01, "skip_end": 0.6})
OFFERED = MODELS / "sd35.yaml"


def by_hand() -> dict[str, Any]:
    """What a person wires on the canvas with ComfyUI's own nodes, from Stability's settings: shift 3, Euler on the
    host's `normal` levels, T5 padded to 256 tokens, brackets in prompts as text."""
    made = {
        "unet": node("EriExampleModelLoader", name="sd35_small.safetensors", family="sd35"),
        "text": node("EriExampleCLIPLoader", name="text_small.safetensors", type="sd35"),
        "vae": node("EriExampleVAELoader", name="vae16_small.safetensors", family="sd35"),
        "length": node("T5TokenizerOptions", clip=["text", 0], min_padding=0, min_length=256),
        "shifted": node("ModelSamplingSD3", model=["unet", 0], shift=3.0),
        "slg": node(
            "SkipLayerGuidanceSD3", model=["shifted", 0], layers="1", scale=2.5, start_percent=0.01, end_percent=0.6
        ),
        "dull": node("CLIPTextEncode", text="dull", clip=["length", 0]),
    }
    for i, prompt in enumerate(("a red \\(zorp:1.3\\) on blue", "a green star")):
        made |= {
            f"words{i}": node("CLIPTextEncode", text=prompt, clip=["length", 0]),
            f"empty{i}": node("EmptySD3LatentImage", width=64 + 32 * i, height=64, batch_size=1),
            f"drawn{i}": node(
                "KSampler", model=["slg", 0], seed=42 + i, steps=4 + i, cfg=3.0, sampler_name="euler",
                scheduler="normal", positive=[f"words{i}", 0], negative=["dull", 0], latent_image=[f"empty{i}", 0],
                denoise=1.0,
            ),
            f"seen{i}": node("VAEDecode", samples=[f"drawn{i}", 0], vae=["vae", 0]),
            f"kept{i}": node("SaveImage", images=[f"seen{i}", 0], filename_prefix=f"hand{i}"),
        }  # fmt: skip
    return made


def test_generated_graphs_are_the_stock_nodes_wired_by_hand(host: Host) -> None:  # noqa: F811
    hand = host.pictures(by_hand())
    for style in ("eri", "stock"):
        assert furthest(hand, host.pictures(build(SKIPPED, OFFERED, style=style).api())) == 0, style
    for one, other in zip(hand, host.pictures(build(SPEC, OFFERED).api()), strict=True):
        assert furthest([one], [other]) > 0, "the guidance changed nothing"

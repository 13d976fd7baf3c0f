"""How long it takes to read a config with 1,000 prompts, in every notation that the readers know.

    python benchmarks/spec_readers.py [--json]

The best of several runs, in milliseconds of processor time; the goal is less than 100 for each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from comfyui_eridiffusion.benchmarks.stopwatch import best

COUNT = 1000
TEXT = "picture number {}, " + "finely drawn, " * 8 + "at noon"


def texts() -> list[str]:
    return [TEXT.format(number) for number in range(COUNT)]


def _yaml_list(prompts: list[str], indent: int) -> str:
    return "".join(f"{' ' * indent}- {json.dumps(prompt)}\n" for prompt in prompts)


def _process(sample: str, kind: str = "sd_trainer", model: str = "is_flux: true, name_or_path: flux1-dev.sft") -> str:
    return (
        f"job: extension\nconfig:\n  name: zorp\n  process:\n  - type: {kind}\n    model: {{{model}}}\n    sample:\n"
        "      width: 1024\n      height: 1024\n      seed: 42\n      sample_steps: 20\n      guidance_scale: 4\n"
        f"      sampler: flowmatch\n      sample_every: 250\n{sample}"
    )


def _native(prompts: list[str]) -> dict[str, Any]:
    keys = {"width": 1024, "height": 1024, "steps": 28, "cfg_scale": 4.5, "negative_prompt": "grey", "seed": 7}
    return {"eri_spec": 1, "family": "sd35", "items": [{"prompt": prompt, **keys} for prompt in prompts]}


def _onetrainer(prompts: list[str]) -> list[dict[str, Any]]:
    keys = {
        "__version": 0,
        "enabled": True,
        "negative_prompt": "",
        "height": 1024,
        "width": 1024,
        "frames": 1,
        "length": 10.0,
        "seed": 42,
        "random_seed": False,
        "diffusion_steps": 30,
        "cfg_scale": 3.5,
        "noise_scheduler": "DDIM",
        "text_encoder_1_layer_skip": 0,
        "text_encoder_1_sequence_length": None,
        "sample_inpainting": False,
        "base_image_path": "",
        "mask_image_path": "",
        "force_last_timestep": False,
    }
    return [{"prompt": prompt, **keys} for prompt in prompts]


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, config text, and arguments of `read_text`."""
    prompts = texts()
    flags = [f"{prompt} --w 1024 --h 768 --d {number} --s 28 --g 3.5" for number, prompt in enumerate(prompts)]
    yield "eridiffusion V1, YAML", _process("      prompts:\n" + _yaml_list(prompts, 6)), {"trainer": "eridiffusion"}
    aitk = _process("      prompts:\n" + _yaml_list(flags, 6), "diffusion_trainer", "arch: flux, name_or_path: a/b")
    yield "ai-toolkit, YAML with flags", aitk, {}
    samples = "".join(f"      - prompt: {json.dumps(prompt)}\n        seed: {n}\n" for n, prompt in enumerate(prompts))
    yield "ai-toolkit, YAML samples", _process("      samples:\n" + samples, "diffusion_trainer"), {}
    yield "eridiffusion V2, prompts file", "\n".join(prompts), {"trainer": "eridiffusion-v2", "family": "sd35"}
    library = {"prompts": [{"prompt": prompt, "negative": "grey", "seeds": [7]} for prompt in prompts]}
    yield "eridiffusion V2, library JSON", json.dumps(library, indent=2), {"family": "flux"}
    yield "kohya, txt with flags", "\n".join(flags), {"trainer": "kohya", "family": "flux"}
    entries = [{"prompt": prompt, "width": 1024, "height": 768, "seed": 7, "sample_steps": 28} for prompt in prompts]
    yield "kohya, JSON", json.dumps(entries, indent=2), {"family": "flux"}
    toml = "[prompt]\nwidth = 1024\n" + "".join(
        f"[[prompt.subset]]\nprompt = {json.dumps(prompt)}\nheight = 768\nseed = {n}\nsample_steps = 28\n"
        for n, prompt in enumerate(prompts)
    )
    yield "kohya, TOML", toml, {"family": "flux"}
    form = {"LoRA_type": "Flux1", "flux1_checkbox": True, "sample_prompts": "\n".join(flags)}
    yield "kohya's GUI, JSON", json.dumps(form, indent=2), {}
    yield "musubi-tuner, txt with flags", "\n".join(flags), {"trainer": "musubi"}
    options = {"model_family": "flux", "user_prompt_library": "l.json"}
    books = {"l.json": json.dumps({f"name{n}": prompt for n, prompt in enumerate(prompts)}, indent=2)}
    yield "SimpleTuner, JSON with library", json.dumps(options), {"files": books}
    config = {"training_method": "LORA", "model_type": "FLUX_DEV_1", "samples": _onetrainer(prompts)}
    yield "OneTrainer, JSON", json.dumps(config, indent=4), {}
    yield "native, JSON", json.dumps(_native(prompts), indent=1), {}
    from comfyui_eridiffusion.spec import read_text

    yield "native, JSON of a read config", read_text(json.dumps(_native(prompts))).to_json(1), {}
    lines = [f"- {json.dumps(item)}\n" for item in _native(prompts)["items"]]
    yield "native, YAML", "eri_spec: 1\nfamily: sd35\nitems:\n" + "".join(lines), {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    from comfyui_eridiffusion.spec import read_text

    results = {}
    for name, text, arguments in cases():
        count = len(read_text(text, **arguments).items)
        if count < COUNT:
            raise SystemExit(f"{name}: {count} of {COUNT} prompts were read")
        results[name] = round(best(lambda text=text, arguments=arguments: read_text(text, **arguments)), 1)  # type: ignore[misc]
        if not as_json:
            sys.stdout.write(f"{results[name]:7.1f} ms  {name}\n")
            sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

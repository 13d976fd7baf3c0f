"""Training configs that are dropped on the canvas."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEC_DATA = ROOT / "tests" / "spec" / "data"
RED_CAT = "a red cat on a mat"

#: One config per trainer and notation, as its own documentation writes them: file name -> text.
CONFIGS = {
    "eri_flux.yaml": (SPEC_DATA / "eri_flux.yaml").read_text(encoding="utf-8"),
    "eri_flat.yml": (SPEC_DATA / "eri_sd35_flat.yaml").read_text(encoding="utf-8"),
    "aitk_flux.yaml": (SPEC_DATA / "aitk_flux.yaml").read_text(encoding="utf-8"),
    "aitk_sdxl.json": (SPEC_DATA / "aitk_sdxl.json").read_text(encoding="utf-8"),
    "native.yaml": (SPEC_DATA / "native.yaml").read_text(encoding="utf-8"),
    "example.yaml": (ROOT / "examples" / "configs" / "sd35.yaml").read_text(encoding="utf-8"),
    "simpletuner.json": json.dumps(
        {
            "model_family": "sdxl",
            "pretrained_model_name_or_path": "stabilityai/stable-diffusion-xl-base-1.0",
            "validation_prompt": RED_CAT,
            "validation_resolution": "1024x1024",
            "validation_seed": 42,
            "validation_num_inference_steps": 20,
            "validation_guidance": 5.0,
        }
    ),
    "onetrainer.json": json.dumps(
        {
            "training_method": "LORA",
            "model_type": "STABLE_DIFFUSION_XL_10_BASE",
            "base_model_name": "stabilityai/stable-diffusion-xl-base-1.0",
            "samples": [
                {
                    "enabled": True,
                    "prompt": RED_CAT,
                    "negative_prompt": "",
                    "height": 1024,
                    "width": 1024,
                    "seed": 42,
                    "random_seed": False,
                    "diffusion_steps": 20,
                    "cfg_scale": 7.0,
                    "noise_scheduler": "DDIM",
                }
            ],
        }
    ),
}

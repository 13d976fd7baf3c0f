"""How musubi-tuner samples FLUX.1 Kontext.

Source: kohya-ss/musubi-tuner `flux_kontext_train_network.py::do_inference`, `flux_kontext_generate_image.py`.
"""

from __future__ import annotations

import math
from typing import Final

from ..claims import HALF_KEPT, OF_SAMPLING, follows_images, read
from ..kohya.sampling import LORA_SCALE, MISREAD
from ..trainer import FLOW_SAMPLERS, GPU_NOTE, Change, Noise, Sizes, Way

ID: Final = "musubi"
#: Rounded down to 8, then by the packing to 16.
SIZE: Final = Sizes(16, "floor", 0)
#: The trainer's default shift, the same for every size.
SHIFT: Final = 14.5

WAYS: Final = (
    Way(
        ID,
        "flux",
        # transformers 4 and ftfy, as sd-scripts (pyproject.toml)
        differs={
            **dict.fromkeys(("base_shift", "max_shift"), math.log(SHIFT)),
            "text_rules": "kohya",
            "control_fit": "its own size",
            "control_drawn": True,
            "half_steps": True,
        },
        variants={"schnell": Change({"shifted": False})},
        noise=Noise("torch-cuda", "packed", "precision", f"flux_kontext_generate_image.py.{GPU_NOTE}"),
        sizes=SIZE,
        samplers=FLOW_SAMPLERS,
        negative="never",
        remarks=(),
        claims=(
            *read(
                "model",
                # training/trainer_base.py L913-917: the global generator is seeded just before; 30c658c
                text="musubi-tuner draws a control image's latent from the VAE's distribution (flux/flux_models.py, "
                "DiagonalGaussian): the mean plus the deviation times noise of the device's global generator, which "
                "starts at the sample's seed; Control Images draws the same",
                when=follows_images,
            ),
            *MISREAD,
            *HALF_KEPT,
            *read("LoRA scale", text=LORA_SCALE),
            *read(*OF_SAMPLING),
        ),
    ),
)

"""Where a sweep's time goes: the model's forward passes, decoding, and each part of the rest.

    .venv/bin/python benchmarks/sweep_parts.py [--width 768] [--side 512] [--prompts 2] [--checkpoints 2]

Prints the processor time of each part, without that of the parts inside it, for each picture. width: of Flux with
random weights (2 double and 4 single blocks, bfloat16) in place of the example's model. side: of the pictures, in
pixels.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "benchmarks")]


class Parts:
    """Processor time by part. `inside` adds up what the parts within the present one took."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.inside = 0.0

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count the time in `owner.name` as this part's."""
        setattr(owner, name, self.timed(getattr(owner, name), part))

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The same function, whose time counts as this part's."""

        def measured(*given: Any, **named: Any) -> Any:
            began, before, self.inside = time.process_time(), self.inside, 0.0
            try:
                return function(*given, **named)
            finally:
                took = time.process_time() - began
                self.seconds[part] += took - self.inside
                self.inside = before + took

        return measured


def watch(parts: Parts) -> None:
    """Tell ComfyUI's work apart: loading, a step's parts, and the nodes by their classes."""
    import comfy.model_base
    import comfy.model_management
    import comfy.samplers
    import comfy.sd
    import nodes

    parts.wrap(comfy.model_base.BaseModel, "apply_model", "forward passes")
    parts.wrap(comfy.samplers, "_calc_cond_batch", "ComfyUI's work around a forward pass")
    parts.wrap(comfy.samplers.KSAMPLER, "sample", "the sampler's arithmetic, progress")
    parts.wrap(comfy.sd.VAE, "decode", "decoding")
    parts.wrap(comfy.sd.CLIP, "encode_from_tokens", "encoding")
    parts.wrap(comfy.model_management, "load_models_gpu", "models onto the device, LoRAs in and out")
    for name, node in nodes.NODE_CLASS_MAPPINGS.items():
        if "execute" in vars(node) and name.startswith("Eri"):
            node.execute = classmethod(parts.timed(vars(node)["execute"].__func__, name))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, value in (("width", 0), ("side", 64), ("prompts", 4), ("checkpoints", 3), ("steps", 20)):
        parser.add_argument(f"--{option}", type=int, default=value)
    options = parser.parse_args()
    from comfyui_eridiffusion.benchmarks import sweep_beside_stock as sweeps
    from comfyui_eridiffusion.benchmarks.lora_models import Size, make_model
    from comfyui_eridiffusion.benchmarks.lora_models import write_run as random_run

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "loras" / "run"
        sweeps.start(Path(name))
        if options.width:
            import nodes
            from comfy_api.latest import io

            model = make_model("flux", Size(options.width, 64, 192, 64, 2))
            loader = nodes.NODE_CLASS_MAPPINGS["EriExampleModelLoader"]
            loader.execute = classmethod(lambda _cls, **_inputs: io.NodeOutput(model))
            random_run(run, model, options.checkpoints)
            files = [file.rename(file.with_name(f"flux_lora_step{50 * n}.safetensors"))
                     for n, file in enumerate(sorted(run.iterdir()), start=1)]  # fmt: skip
        else:
            files = sweeps.write_run(run, options.checkpoints)
        size = {"width": options.side, "height": options.side}
        found = sweeps.prompts_of(options.prompts)
        spec = found.part([replace(item, steps=options.steps, **size) for item in found.items])
        short = spec.part([replace(spec.items[0], steps=1)])
        models, parts = sweeps.EXAMPLES / "models" / "flux.yaml", Parts()
        sweeps.of_host(short, files[:1], models)["sweep"]()
        watch(parts)
        work = sweeps.of_host(spec, files, models)["sweep"]
        parts.timed(work, "ComfyUI's executor, all else")()
    pictures = options.prompts * options.checkpoints
    passes = parts.seconds["forward passes"]
    print(f"{pictures} pictures, each in {sum(parts.seconds.values()) / pictures * 1e3:.0f} ms")
    for part, seconds in parts.seconds.most_common():
        print(f"{seconds / pictures * 1e3:9.1f} ms  {seconds / passes:7.2%}  {part}")


if __name__ == "__main__":
    main()

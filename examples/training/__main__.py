"""Train everything the examples ship, in stages that resume: `python -m training STAGE…` (see `make train-examples`).

Stages of one run can be given to separate processes; each waits for nothing and stops with a message when an earlier
stage's result is missing.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from . import host


def stages(work: Path) -> dict[str, Callable[[], object]]:
    """Every stage by name, in the order in which one process would run them."""
    from . import autoencoder, base, export, lora, text
    from .runtime import missing, stored

    def base_model(family: str) -> Callable[[], object]:
        return lambda: stored(work / f"{family}-base.safetensors", base.train, work, family)

    def sharp(channels: int, *cycles: int) -> Callable[[], object]:
        return lambda: stored(
            work / f"autoencoder{channels}-sharp.safetensors",
            autoencoder.sharpen,
            work,
            stored(work / f"autoencoder{channels}.safetensors", missing),
            cycles,
        )

    def distilled() -> object:
        teacher = stored(work / "flux-base.safetensors", missing)
        return stored(work / "flux-final.safetensors", base.distil, work, teacher, 400)

    return {
        "autoencoder16": lambda: stored(work / "autoencoder16.safetensors", autoencoder.train, work, 16, 1100),
        "autoencoder4": lambda: stored(work / "autoencoder4.safetensors", autoencoder.train, work, 4, 1700),
        "sharpen16": sharp(16, 500, 450),
        "sharpen4": sharp(4, 500),
        "text": lambda: stored(work / "text.safetensors", text.train),
        "sdxl": base_model("sdxl"),
        "sd35": base_model("sd35"),
        "flux": base_model("flux"),
        "distil": distilled,
        "lora-sdxl": lambda: lora.train(work, "sdxl"),
        "lora-sd35": lambda: lora.train(work, "sd35"),
        "lora-flux": lambda: lora.train(work, "flux"),
        "export": lambda: export.write_all(work),
    }


def main() -> None:
    """Run the stages named on the command line, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", help="stages to run (default: all)")
    parser.add_argument(
        "--work",
        type=Path,
        default=host.EXAMPLES.parent / ".workspace" / "training",
        help="folder for intermediate results and resumable states",
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    host.use_host()
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    table = stages(options.work)
    unknown = [name for name in options.stages if name not in table]
    if unknown:
        parser.error(f"unknown stage {unknown[0]!r}; there are {', '.join(table)}")
    for name in options.stages or table:
        logging.info("stage %s", name)
        table[name]()


if __name__ == "__main__":
    main()

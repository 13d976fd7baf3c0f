"""How exact is a LoRA on a bf16, fp16 or fp8 base: what the host patches in beside a plain merge, both against float32.

    python benchmarks/lora_precision.py [--json]

One linear layer of 1024 × 1024 and a rank-16 change of a tenth of its norm, as trained LoRAs have. "host" is what the
model then computes with: the host patches in float32 and rounds, for fp8 stochastically with a seed from the weight's
name. "plain" adds the rounded change to the rounded weight and rounds to nearest. Errors are relative: |W - (W0 +
change)| / |change|, where W0 is the rounded base, so that the base's own rounding is not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

SIZE, RANK, SHARE = 1024, 16, 0.1
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}
NAME = "layer.weight"


def start_host() -> None:
    """Put the host on the path as the tests do; models stay on the CPU."""
    from comfyui_eridiffusion.dev.host_install import find_host, write_shim

    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    from comfy.cli_args import args

    args.cpu = True


def weights() -> tuple[Tensor, Tensor, Tensor]:
    """Base, down [rank, in] and up [out, rank]; the product has SHARE of the base's norm."""
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(SIZE, SIZE, generator=generator) / SIZE**0.5
    down, up = torch.randn(RANK, SIZE, generator=generator), torch.randn(SIZE, RANK, generator=generator)
    return base, down, up * (SHARE * base.norm() / (up @ down).norm())


def by_host(base: Tensor, down: Tensor, up: Tensor, strength: float) -> Tensor:
    """The weight after the host's patcher has put the LoRA on a layer of `base`'s dtype."""
    import comfy.model_patcher
    from comfy.weight_adapter import LoRAAdapter

    model = nn.Module()
    model.layer = nn.Linear(SIZE, SIZE, bias=False)
    model.layer.weight = nn.Parameter(base.clone(), requires_grad=False)
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
    adapter = LoRAAdapter(set(), (up, down, float(RANK), None, None, None))
    patcher.add_patches({NAME: adapter}, strength)
    patcher.patch_model()
    return model.layer.weight.detach().float()


def plain(base: Tensor, down: Tensor, up: Tensor, strength: float) -> Tensor:
    """The change rounded to the base's dtype, added, rounded to nearest."""
    change = (strength * (up @ down)).to(base.dtype)
    return (base.float() + change.float()).to(base.dtype).float()


def measure(strength: float = 1.0) -> dict[str, dict[str, float]]:
    """Relative error of host and plain merge, and how far each bends the change's length, by dtype."""
    base, down, up = weights()
    change = strength * (up @ down)
    rows = {}
    for name, dtype in DTYPES.items():
        rounded = base.to(dtype)
        exact = rounded.float() + change
        row = {}
        for way, merge in (("host", by_host), ("plain", plain)):
            found = merge(rounded, down, up, strength)
            row[way] = ((found - exact).norm() / change.norm()).item()
            kept = ((found - rounded.float()) * change).sum() / change.square().sum()
            row[f"{way}_kept"] = kept.item()
        rows[name] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    start_host()
    rows = measure()
    if arguments.json:
        sys.stdout.write(json.dumps({"script": Path(__file__).name, "rows": rows}) + "\n")
        return
    lines = ["| base | ComfyUI: error | change kept | plain merge: error | change kept |", "|---|---:|---:|---:|---:|"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['host']:.2e} | {row['host_kept']:.4f} | {row['plain']:.2e} | {row['plain_kept']:.4f} |"
        )
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()

"""What `eri lora` says about a LoRA file or a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import LoraError
from .saving import save_file


def describe_lora(path: Path, family: str | None = None, against: Path | None = None) -> dict[str, Any]:
    """A file's load report, or a folder's checkpoints, as JSON types.

    against: a checkpoint or diffusion model whose weights the report is about; without it `parts` says which module
    the family has. A folder gives `folder` and `checkpoints` (step, epoch, run, trainer, path). Raises LoraError where
    nothing is there, and for what is no LoRA, does not match or does not fit.
    """
    from ..lora import find_checkpoints

    if path.is_dir():
        if against is not None:
            raise LoraError("is a folder", path=path, remedy="With --against give one LoRA file")
        found = [
            {
                "step": entry.step,
                "epoch": entry.epoch,
                "run": entry.run,
                "trainer": entry.trainer,
                "path": str(entry.path),
            }
            for entry in find_checkpoints(path)
        ]
        return {"folder": str(path), "checkpoints": found}
    for file in (path, against):
        if file is not None and not file.exists():
            raise LoraError("is not there", path=file, remedy="Give a LoRA file or a run folder, and a model file")
    return _describe_file(path, family, against)


def _describe_file(path: Path, family: str | None, against: Path | None) -> dict[str, Any]:
    from ..lora import load_report, read_lora, to_host_keys
    from ..lora.against import family_of_model, model_shapes, report_against

    shapes = {} if against is None else model_shapes(against)
    lora = read_lora(path, family=family or (family_of_model(shapes) if shapes else None))
    if against is None:
        to_host_keys(lora)  # which refuses what ComfyUI cannot apply
        report = load_report(lora, [adapter.target.name for adapter in lora.adapters])
    else:
        report = report_against(lora, shapes)
    document = report.as_dict()
    reasons: dict[str, list[str]] = {}
    for key, reason in report.ignored.items():
        reasons.setdefault(reason, []).append(key)
    return {
        "file": document.pop("path"),
        "against": None if against is None else str(against),
        **document,
        "ignored": reasons,
        "tensors": len(lora.tensors),
        "modules": len(lora.adapters),
    }


def convert_lora(path: Path, family: str | None, target: Path) -> None:
    """Write a LoRA file anew under names that ComfyUI's own LoRA loader knows, for those who do not have this pack.

    The change of every weight is that of `path`; what `read_lora` ignores or does not know is not in the new file.
    Raises LoraError for what is no LoRA and where `target` is no .safetensors, HostError where it cannot be written.
    """
    from safetensors.torch import save

    from ..lora import read_lora, to_host_keys

    if path.is_dir():
        raise LoraError("is a folder", path=path, remedy="With --convert give one LoRA file")
    if target.suffix.lower() != ".safetensors":
        raise LoraError("is no .safetensors file", path=target, remedy="Give --convert a name that ends so")
    lora = read_lora(path, family=family)
    tensors = {name: tensor.contiguous() for name, tensor in to_host_keys(lora).items()}
    step = {} if lora.step is None else {"ss_steps": str(lora.step)}  # kohya's field, which other tools read too
    save_file(target, save(tensors, {"format": "pt", **step}))

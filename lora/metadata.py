"""What a checkpoint says about itself besides its tensors: the header's metadata and the JSON files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import LoraError
from ..whole_files import read_small
from .header import Header
from .remembered import look
from .suffixes import Split
from .tensor_names import TensorNames, tensor_names

ERIDIFFUSION_KEY = "__eridiffusion_ckpt__"
DIFFUSERS_KEY = "lora_adapter_metadata"
#: State files, where they lie seen from the checkpoint ("{}" is its name without ending), and their fields. Beside it:
#: SimpleTuner and EriDiffusion V1 (training_state.json, metadata.json), the Hugging Face trainers (trainer_state.json).
#: In a folder of its own: kohya-ss/sd-scripts@48d368f train_network.py:944. Above a folder `lora`: OneTrainer's own
#: format (Nerogar/OneTrainer@23df383 modules/modelLoader/BaseModelLoader.py:23).
_STATE_FILES = (
    *("training_state.json", "trainer_state.json", "{}-state/train_state.json", "train_state.json"),
    *("metadata.json", "meta.json"),
)
#: Of such a file; the Hugging Face trainers' grows by a line for each step that is logged.
_MOST_BYTES = 64 << 20
_STEP_FIELDS = ("global_step", "current_step", "step")


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file before its tensors are read: its header, its names taken apart, and the JSON files beside it.

    Args:
        header: the file's header.
        endings: those that mean something in this file beside the common ones, see `Dialect.endings`.
    """

    header: Header
    endings: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.header.path

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.header.metadata

    @cached_property
    def names(self) -> TensorNames:
        """What its names and shapes alone tell."""
        return tensor_names(self.header.contents, tuple(self.endings.items()))

    @property
    def parts(self) -> Mapping[str, Split]:
        return self.names.parts

    @property
    def modules(self) -> tuple[str, ...]:
        return self.names.modules

    @property
    def model_modules(self) -> tuple[str, ...]:
        return self.names.model_modules

    @property
    def telling(self) -> tuple[str, ...]:
        return self.names.telling

    @property
    def telling_keys(self) -> tuple[str, ...]:
        return self.names.telling_keys

    @cached_property
    def eridiffusion(self) -> dict[str, Any]:
        """EriDiffusion V2's own header (step, rank, alpha, trainer …); empty when there is none."""
        return self._entry(ERIDIFFUSION_KEY)

    @cached_property
    def adapter_config(self) -> dict[str, Any]:
        """PEFT's `adapter_config.json` beside an `adapter_model` file; empty when there is none.

        LoraError when it exists and is no JSON object, because alpha would then be another.
        """
        beside = self.path.with_name("adapter_config.json")
        if not self.path.stem.startswith("adapter_model") or not beside.exists():
            return {}
        config = _json_object(beside, self.path)
        if config is None:
            raise LoraError(
                f"{beside.name} beside it cannot be read as a JSON object",
                path=self.path,
                remedy="The trainer may still be writing it: wait a moment and read it again. Copy a file that is a "
                "link to another folder",
                retryable=True,
            )
        return config

    @cached_property
    def adapter_metadata(self) -> dict[str, Any]:
        """diffusers' `lora_adapter_metadata`, keys prefixed by component (`transformer.lora_alpha`); may be empty."""
        return self._entry(DIFFUSERS_KEY)

    def _entry(self, key: str) -> dict[str, Any]:
        """A metadata entry that is a JSON object; empty when there is none, LoraError when it is anything else."""
        if key not in self.metadata:
            return {}
        value = self.header.json_value(key)
        if not isinstance(value, dict):
            raise LoraError(
                f"the entry {key} of its header is not a JSON object",
                path=self.path,
                remedy="The file is damaged: save it again",
            )
        return value


def read_json(path: Path, lora: Path) -> dict[str, Any]:
    """A JSON object from a small file beside a LoRA file; empty when it is absent, unreadable or not an object."""
    return _json_object(path, lora) or {}


def _json_object(path: Path, lora: Path) -> dict[str, Any] | None:
    """A link counts where it leads to a file that lies there, too, or beside what `lora` itself is a link to."""
    folder = lora.parent.parent if lora.parent.name == "lora" else lora.parent
    try:
        real = look(path).resolve()
        if not any(real.is_relative_to(place) for place in (folder.resolve(), lora.resolve().parent)):
            return None
        value = json.loads(read_small(path, _MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def header_step(header: Header) -> int | None:
    """The training step that a header records; None when it records none.

    Read from: EriDiffusion V2's own header, ai-toolkit's `training_info`, sd-scripts' `ss_steps`, and a plain `step`
    (EriDiffusion V1).
    """
    return _first_step(
        (
            _mapping(header.json_value(ERIDIFFUSION_KEY)).get("step"),
            _mapping(header.json_value("training_info")).get("step"),
            header.metadata.get("ss_steps"),
            header.metadata.get("step"),
        )
    )


def state_step(path: Path) -> int | None:
    """The step in the trainer's state JSON of a checkpoint, see `_STATE_FILES`; None without one."""
    above = ("../meta.json",) if path.parent.name == "lora" else ()
    for name in (*_STATE_FILES, *above):
        state = read_json(path.parent / name.format(path.stem), path)
        state = {**_mapping(state.get("train_progress")), **state}
        step = _first_step(state.get(field) for field in _STEP_FIELDS)
        if step is not None:
            return step
    return None


def _first_step(candidates: Iterable[Any]) -> int | None:
    for candidate in candidates:
        if isinstance(candidate, bool) or not isinstance(candidate, int | str):
            continue
        if isinstance(candidate, int):
            return candidate if candidate >= 0 else None
        if candidate.strip().isdecimal() and len(candidate) < 100:  # of more than 4300 digits Python makes no number
            return int(candidate)
    return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

"""What a ComfyUI in this process does: seconds in forward passes, models brought onto the device."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple


class Found(NamedTuple):
    """Processor time of a run and of its forward passes; loads by the class of the model."""

    whole: float
    passes: float
    loads: dict[str, int]

    @property
    def above(self) -> float:
        return self.whole - self.passes

    def note(self) -> str:
        return "loads: " + ", ".join(f"{name} {count}" for name, count in sorted(self.loads.items()))


class Meter:
    """Counts from now on; `of` measures one run."""

    def __init__(self) -> None:
        import comfy.model_base
        import comfy.model_management as management

        self.passes, self.loads = 0.0, Counter[str]()
        comfy.model_base.BaseModel.apply_model = self.timed(comfy.model_base.BaseModel.apply_model)
        load = management.LoadedModel.model_load

        def counted(loaded: Any, *given: Any, **named: Any) -> Any:
            if loaded.real_model is None or loaded.real_model() is None:
                self.loads[type(loaded.model.model).__name__] += 1
            return load(loaded, *given, **named)

        management.LoadedModel.model_load = counted

    def timed(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time counts as that of a forward pass."""

        def passing(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return forward(*given, **named)
            finally:
                self.passes += time.process_time() - began

        return passing

    def of(self, work: Callable[[], object]) -> Found:
        """What this work takes."""
        self.passes, self.loads = 0.0, Counter()
        began = time.process_time()
        work()
        return Found(time.process_time() - began, self.passes, dict(self.loads))


def limit_memory(room: int) -> None:
    """Let only so many bytes of models stay on the device, as a card does.

    A CPU has room for all, and "loading" moves nothing on it. So what does not fit beside a model is unloaded by
    ComfyUI's own means before that one is loaded, and loading copies every weight once, as the way to a card does.
    """
    import comfy.model_management as management
    import torch

    wanted, load = management.load_models_gpu, management.LoadedModel.model_load

    def limited(models: Any, *given: Any, **named: Any) -> Any:
        asked = {id(patcher.model): patcher.model_size() for patcher in models}
        left = room - sum(asked.values())
        for entry in list(management.current_loaded_models):  # the one used last comes first
            if entry.model is None or id(entry.model.model) in asked:
                continue
            left -= entry.model.model_size()
            if left < 0:
                entry.model_unload()
                management.current_loaded_models.remove(entry)
        return wanted(models, *given, **named)

    def copied(loaded: Any, *given: Any, **named: Any) -> Any:
        if loaded.real_model is None or loaded.real_model() is None:
            with torch.no_grad():
                for parameter in loaded.model.model.parameters():
                    parameter.data = parameter.data.clone()
        return load(loaded, *given, **named)

    management.load_models_gpu, management.LoadedModel.model_load = limited, copied

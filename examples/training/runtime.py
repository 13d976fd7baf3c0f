"""What every training loop shares: averaged weights, a one-cycle rate, checkpoints to resume from, progress lines."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

log = logging.getLogger(__name__)


class Ema:
    """Exponential moving average of a module's parameters, with a warm-up so that early steps are forgotten."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1.0 - decay)
            else:
                self.shadow[name].copy_(value)

    def state(self) -> dict[str, Tensor]:
        """A copy of the averaged weights."""
        return {k: v.clone() for k, v in self.shadow.items()}


def initialise(module: nn.Module, seed: int, zero: tuple[str, ...] = ()) -> None:
    """Draw every parameter of a host module, which is built without any.

    Matrices and kernels: normal with variance 1 / fan-in; biases zero; other vectors (norm scales) one; parameters
    whose name holds one of `zero`: zero (modulation and last layers, so that training starts from the identity).
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if name.endswith("bias") or any(part in name for part in zero):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 1:
            nn.init.ones_(parameter)
        elif parameter.ndim > 1:
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(drawn * parameter[0].numel() ** -0.5)


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """Let autograd through the host's modules: they write `x += …` in place, which overwrites what it saved.

    Inside, `+=` on tensors makes a new tensor instead (`allow_mutation_on_saved_tensors` is a quarter slower).
    """
    in_place = torch.Tensor.__iadd__
    torch.Tensor.__iadd__ = torch.Tensor.__add__  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        torch.Tensor.__iadd__ = in_place  # type: ignore[method-assign]


def descend(
    loss: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    largest: float = 1.0,
) -> float:
    """One step down a loss, its gradient's norm cut to `largest`; returns the loss before the step."""
    with differentiable():
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], largest)
    optimizer.step()
    schedule.step()
    return float(value.detach())


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up over 5 % of the steps, then cosine to zero; the peak is the optimizer's own rate."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peaks, total_steps=steps + 1, pct_start=0.05, div_factor=10.0, final_div_factor=100.0
    )


class Checkpointer:
    """Saves the whole training state every few steps, so that a stopped run resumes where it was."""

    def __init__(
        self,
        folder: Path,
        network: nn.Module,
        average: Ema | None,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        every: int = 200,
        report_every: int = 25,
    ) -> None:
        self.folder = folder
        self.network, self.average, self.optimizer, self.schedule = network, average, optimizer, schedule
        self.every, self.report_every = every, report_every
        self.started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> int:
        """Load the last saved state, if any; returns the step to go on with."""
        file = self.folder / "state.pt"
        if not file.exists():
            return 0
        state = torch.load(file, weights_only=True)
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.shadow, self.average.updates = state["average"], state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        log.info("%s: resuming at step %d", self.folder.name, state["step"])
        return int(state["step"])

    def after_step(self, step: int, steps: int, **figures: float) -> None:
        """Call with the index of the step just done: writes a progress line and, now and then, the state."""
        done = step + 1
        if done % self.report_every == 0 or done == steps:
            line = {
                "step": done,
                "of": steps,
                "seconds": round(time.monotonic() - self.started, 1),
                **{k: round(v, 5) for k, v in figures.items()},
            }
            log.info("%s %s", self.folder.name, json.dumps(line))
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if done % self.every == 0 or done == steps:
            state = {
                "step": done,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "average": self.average.shadow if self.average else None,
                "updates": self.average.updates if self.average else 0,
            }
            partial = self.folder / "state.part"
            torch.save(state, partial)
            partial.replace(self.folder / "state.pt")


def missing() -> dict[str, Tensor]:
    """What `stored` is given where a stage needs the result of an earlier one and must not make it itself."""
    raise SystemExit("an earlier stage's result is missing: run the stages in their order (see --help)")


def stored(path: Path, make: object, *args: object, **kwargs: object) -> dict[str, Tensor]:
    """The tensors in `path` if it is there, else those that `make(*args, **kwargs)` returns, saved there."""
    if path.exists():
        return load_file(path)
    tensors = make(*args, **kwargs)  # type: ignore[operator]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial)
    partial.replace(path)
    return tensors

"""Teach each base model a new word with a LoRA, saved as EriDiffusion V2 saves: names, alphas, header, optimizer.

Flux and SD 3.5 use the trainer's `weights` mode (an alpha tensor per module), SDXL its default `full` mode (alpha in
the header, optimizer moments in the same file) and trains CLIP-L as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from loaders import architecture
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from . import base, domain, families, text
from .runtime import descend, missing, one_cycle, stored

log = logging.getLogger(__name__)

RANK = {"flux": 6, "sd35": 6, "sdxl": 4}
BATCH = 32
#: the last one is the total
STEPS = (50, 100, 200, 400, 700, 1000)
ALPHA = {"flux": 6.0, "sd35": 3.0, "sdxl": 2.0}
RATE = {"flux": 6e-3, "sd35": 8e-3, "sdxl": 8e-3}
WORD = {"flux": "zorp", "sd35": "quix", "sdxl": "blaff"}
RUN = {family: f"{family}_{word}" for family, word in WORD.items()}
PICTURES = {(64, 64): 900, (64, 96): 300, (96, 64): 300}
#: every third base scene of the mix keeps the model from drawing the new shape everywhere
KEEP = 0.3


@dataclass(frozen=True)
class Target:
    """One adapted module: its name in the file, the host weight it changes, and which rows of it."""

    name: str
    weight: str
    start: int
    rows: int
    columns: int


def targets(family: str, model: nn.Module) -> Iterator[Target]:
    """The modules that EriDiffusion V2 adapts in this family, as far as the small model has them."""
    shapes = {
        name[: -len(".weight")]: tuple(p.shape)
        for name, p in model.named_parameters()
        if name.endswith(".weight") and p.ndim == 2
    }
    for name, (rows, columns) in shapes.items():
        parts = name.split(".")
        if family == "sdxl":
            if any(p in ("attn1", "attn2") for p in parts):
                yield Target(name, name, 0, rows, columns)
        elif family == "sd35":
            last_context = f"joint_blocks.{architecture.SD35['depth'] - 1}.context_block"
            if parts[0] == "joint_blocks" and "adaLN_modulation" not in name and not name.startswith(last_context):
                yield Target(name, name, 0, rows, columns)
        elif parts[0] in ("double_blocks", "single_blocks"):
            yield from _flux_targets(name, parts, rows, columns)


def _flux_targets(name: str, parts: list[str], rows: int, columns: int) -> Iterator[Target]:
    """EriDiffusion V2's hybrid names: native blocks, but query, key, value and MLP rows of fused weights apart."""
    parent = ".".join(parts[:-1])
    if parts[-1] == "qkv":
        for number, part in enumerate(("to_q", "to_k", "to_v")):
            yield Target(f"{parent}.{part}", name, number * columns, columns, columns)
    elif parts[-1] == "linear1":
        for number, part in enumerate(("to_q", "to_k", "to_v")):
            yield Target(f"{parent}.attn.{part}", name, number * columns, columns, columns)
        yield Target(f"{parent}.proj_mlp", name, 3 * columns, rows - 3 * columns, columns)
    elif parts[-1] == "linear2":
        yield Target(f"{parent}.proj_out", name, 0, rows, columns)
    elif parts[-1] == "proj" or parts[-2].endswith("_mlp"):
        yield Target(name, name, 0, rows, columns)


def text_targets(encoder: nn.Module) -> list[Target]:
    """CLIP-L's attention projections in the layers that reach the penultimate output."""
    found = []
    for name, parameter in encoder.named_parameters():
        if ".self_attn." in name and name.endswith(".weight") and ".layers.2." not in name:
            rows, columns = parameter.shape
            found.append(Target(name[: -len(".weight")], name[: -len(".weight")], 0, rows, columns))
    return found


class Adapter(nn.Module):
    """Down and up matrices of a list of targets; `merged` gives the changed weights for `functional_call`."""

    def __init__(self, wanted: list[Target], rank: int, alpha: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.targets, self.scale = wanted, alpha / rank
        self.down = nn.ParameterList(
            [nn.Parameter(torch.randn(rank, t.columns, generator=generator) * t.columns**-0.5) for t in wanted]
        )
        self.up = nn.ParameterList([nn.Parameter(torch.zeros(t.rows, rank)) for t in wanted])

    def merged(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Host weights with the scaled product added to each target's rows; only the changed ones."""
        changed: dict[str, list[tuple[Target, Tensor]]] = {}
        for target, down, up in zip(self.targets, self.down, self.up, strict=True):
            changed.setdefault(target.weight, []).append((target, self.scale * up @ down))
        result = {}
        for name, parts in changed.items():
            weight = weights[f"{name}.weight"]
            parts.sort(key=lambda part: part[0].start)
            result[f"{name}.weight"] = weight + (
                torch.cat([delta for _, delta in parts]) if len(parts) > 1 else parts[0][1]
            )
        return result


def train(work: Path, family: str, seed: int = 41) -> None:
    """Train one family's run and write its checkpoints to `work/runs/<run>`; resumes by starting over (minutes)."""
    folder = work / "runs" / RUN[family]
    if (folder / f"{family}_lora_{STEPS[-1]}steps.safetensors").exists():
        return
    pairs = domain.held_out_pairs()
    new = [s for s in domain.trigger_scenes(WORD[family]) if (s.colour, s.background) not in pairs]
    known = domain.training_scenes()[:: max(1, int(888 / (len(new) * KEEP / (1 - KEEP))))]
    material = base.Material(work, family, new + known, PICTURES, seed, f"lora-{family}")
    model = families.new_model(family).requires_grad_(False)
    final = "final" if family == "flux" else "base"
    model.load_state_dict(stored(work / f"{family}-{final}.safetensors", missing))
    weights = dict(model.named_parameters())
    adapter = Adapter(list(targets(family, model)), RANK[family], ALPHA[family], seed)
    encoder = material.clip.cond_stage_model.clip_l if family == "sdxl" else None
    text_adapter = None
    if encoder is not None:
        text_adapter = Adapter(text_targets(encoder), RANK[family], ALPHA[family], seed + 1)
    learned = [*adapter.parameters(), *(text_adapter.parameters() if text_adapter else [])]
    optimizer = torch.optim.AdamW(learned, lr=RATE[family], weight_decay=0.01)
    schedule = one_cycle(optimizer, STEPS[-1])
    ids = torch.tensor(text.tokens(material.prompts)["clip_l"])
    for step in range(STEPS[-1]):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        x0, prompts = material.batch(BATCH, generator)
        guidance = 1.0 + 4.0 * torch.rand(BATCH, generator=generator) if family == "flux" else None
        conditions = material.conditions(prompts, base.tokens_at(step, STEPS[-1], generator), guidance)
        time = families.sample_time(family, BATCH, generator)
        x, target = families.noisy(family, x0, torch.randn(x0.shape, generator=generator), time)
        base_velocity = _unconditional(material, model, x, time) if guidance is not None else None

        def loss_of_batch() -> Tensor:
            if text_adapter is not None and encoder is not None:
                conditions.context = _with_text(encoder, text_adapter, ids[prompts], conditions.context)  # noqa: B023
            call = _Call(model, adapter.merged(weights))
            found = families.predict(family, call, x, time, conditions)  # noqa: B023
            if base_velocity is not None and guidance is not None:  # noqa: B023
                found = base_velocity + (found - base_velocity) / guidance.view(-1, 1, 1, 1)  # noqa: B023
            return F.mse_loss(found, target)  # noqa: B023

        loss = descend(loss_of_batch, optimizer, schedule)
        if (step + 1) % 25 == 0:
            log.info("lora %s step %d loss %.4f", family, step + 1, loss)
        if step + 1 in STEPS:
            save(folder, family, step + 1, adapter, text_adapter, optimizer)


@torch.no_grad()
def _unconditional(material: base.Material, model: nn.Module, x: Tensor, time: Tensor) -> Tensor:
    """What the distilled Flux model gives for the empty prompt.

    At guidance g it answers u + g (c - u), with u this and c the velocity of the prompt. Solved for c, the answer is
    held against the pictures, so that guidance acts on the new word as it does on the words the model was distilled on.
    """
    empty = torch.full((len(x),), len(material.prompts) - 1)
    conditions = material.conditions(empty, base.FULL_TOKENS // 4, torch.ones(len(x)))
    return families.predict("flux", model, x, time, conditions)


class _Call:
    """A model called with some of its weights replaced."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        self.model, self.weights = model, weights

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = functional_call(self.model, self.weights, args, kwargs)
        return result


def _with_text(encoder: nn.Module, adapter: Adapter, ids: Tensor, context: Tensor) -> Tensor:
    """SDXL's context `[B, T, L + G]` with CLIP-L's features computed anew through its adapter."""
    output = functional_call(encoder, adapter.merged(dict(encoder.named_parameters())), (ids.tolist(),))[0]
    return torch.cat((output[:, : context.shape[1]], context[..., architecture.WIDTH_L :]), dim=-1)


def save(
    folder: Path, family: str, step: int, adapter: Adapter, text_adapter: Adapter | None, optimizer: torch.optim.AdamW
) -> None:
    """Write one checkpoint under EriDiffusion V2's file name; the last one is named by the total."""
    tensors: dict[str, Tensor] = {}
    parameters: dict[str, nn.Parameter] = {}
    for part, prefix in ((adapter, ""), (text_adapter, "text_encoders.clip_l.")):
        if part is None:
            continue
        for target, down, up in zip(part.targets, part.down, part.up, strict=True):
            parameters[f"{prefix}{target.name}.lora_A.weight"] = down
            parameters[f"{prefix}{target.name}.lora_B.weight"] = up
    tensors.update({name: p.detach().clone() for name, p in parameters.items()})
    metadata: dict[str, str] = {}
    if family == "sdxl":
        for name, parameter in parameters.items():
            moments = optimizer.state[parameter]
            tensors[f"__opt__/adamw/m/{name}"] = moments["exp_avg"].clone()
            tensors[f"__opt__/adamw/v/{name}"] = moments["exp_avg_sq"].clone()
        metadata["__eridiffusion_ckpt__"] = json.dumps(_header(family, step, optimizer))
    else:
        for name in [n for n in parameters if n.endswith(".lora_A.weight")]:
            tensors[name.replace(".lora_A.weight", ".alpha")] = torch.tensor(ALPHA[family])
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{family}_lora_{step}steps" if step == STEPS[-1] else f"{family}_lora_step{step}"
    save_file(tensors, folder / f"{stem}.safetensors", metadata=metadata or None)


def _header(family: str, step: int, optimizer: torch.optim.AdamW) -> dict[str, Any]:
    group = optimizer.param_groups[0]
    return {
        "format_version": 1,
        "trainer": f"train_{family}",
        "step": step,
        "optimizer": "adamw",
        "adam_t": step,
        "lr": group["lr"],
        "beta1": group["betas"][0],
        "beta2": group["betas"][1],
        "eps": group["eps"],
        "weight_decay": group["weight_decay"],
        "rank": RANK[family],
        "alpha": ALPHA[family],
        "rng_state": None,
        "config_hash": "",
    }

"""Train the three base models on cached latents, and distil the Flux one's guidance into a single pass."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from . import autoencoder, checker, domain, families, text
from .families import Conditions
from .runtime import Checkpointer, Ema, descend, missing, one_cycle, stored

log = logging.getLogger(__name__)

PICTURES = {
    "wide": {(64, 64): 6000, (64, 96): 1800, (96, 64): 1800},
    "narrow": {(64, 64): 8000, (64, 96): 1600, (96, 64): 1600},
}
VARIETIES = {"wide": domain.WIDE, "narrow": domain.NARROW}
DROPPED = 0.1
#: shapes that are harder to draw come up more often
EMPHASIS = {"star": 2.0, "ring": 1.5}
FULL_TOKENS = 77


@dataclass(frozen=True)
class Phase:
    """A part of a base model's training: a one-cycle rate over `cycle` steps, left after `stop`, on one variety."""

    cycle: int
    stop: int
    variety: str
    rate: float = 1e-3


#: wide first, which teaches what the words mean at any size and place, then narrow, which sharpens the shapes
PHASES = {
    "flux": (
        Phase(2000, 2000, "wide"),
        Phase(1400, 1400, "narrow", 1.3e-3),
        Phase(800, 800, "narrow", 1e-3),
        Phase(2600, 2600, "narrow", 1.2e-3),
        Phase(1500, 1500, "narrow", 1.2e-3),
    ),
    "sd35": (
        Phase(2200, 1600, "wide"),
        Phase(1200, 1200, "narrow", 1.3e-3),
        Phase(600, 600, "narrow", 1e-3),
        Phase(2900, 2900, "narrow", 1.2e-3),
        Phase(1500, 1500, "narrow", 1.2e-3),
    ),
    "sdxl": (Phase(2600, 600, "wide"), Phase(1700, 1700, "narrow", 1.3e-3), Phase(1200, 1200, "narrow", 1e-3)),
}


@dataclass
class Pool:
    """Cached latents of one resolution, whitened, the index of each one's prompt, and how often each one comes up."""

    latents: Tensor
    prompts: Tensor
    weights: Tensor


class Material:
    """Everything a family trains on: latents by resolution, encoded prompts (the last one is the empty prompt)."""

    def __init__(
        self,
        work: Path,
        family: str,
        scenes: list[domain.Scene],
        pictures: dict[tuple[int, int], int],
        seed: int,
        name: str,
        variety: domain.Variety = domain.NARROW,
    ) -> None:
        self.family = family
        self.scenes = scenes
        self.variety = variety
        channels = families.LATENT_CHANNELS[family]
        self.autoencoder_state = stored(work / f"autoencoder{channels}.safetensors", missing)
        self.network = autoencoder.load(self.autoencoder_state, channels)
        self.mean, self.std = float(self.autoencoder_state["mean"]), float(self.autoencoder_state["std"])
        cached = stored(work / f"latents{channels}-{name}.safetensors", self._encode, pictures, seed)
        emphasis = torch.tensor([EMPHASIS.get(scene.shape, 1.0) for scene in scenes])
        self.pools: dict[tuple[int, int], Pool] = {}
        for height, width in pictures:
            latents, prompts = cached[f"latents{height}x{width}"], cached[f"prompts{height}x{width}"]
            self.pools[(height, width)] = Pool(latents, prompts, emphasis[prompts])
        self.clip = text.load(stored(work / "text.safetensors", missing), family)
        self.prompts = [s.prompt for s in scenes] + [""]
        encoded = stored(work / f"prompts-{family}-{name}.safetensors", self._encode_prompts)
        self.context, self.pooled = encoded["context"], encoded["pooled"]

    def _encode_prompts(self) -> dict[str, Tensor]:
        context, pooled = text.encode(self.clip, self.prompts)
        return {"context": context, "pooled": pooled}

    @torch.no_grad()
    def _encode(self, pictures: dict[tuple[int, int], int], seed: int) -> dict[str, Tensor]:
        cached: dict[str, Tensor] = {}
        generator = torch.Generator().manual_seed(seed)
        for (height, width), count in pictures.items():
            chosen = torch.randint(len(self.scenes), (count,), generator=generator)
            rows = []
            for part in chosen.split(100):
                drawn = domain.draw([self.scenes[i] for i in part.tolist()], height, width, generator, self.variety)
                rows.append((self.network["encoder"](drawn) - self.mean) / self.std)
            cached[f"latents{height}x{width}"], cached[f"prompts{height}x{width}"] = torch.cat(rows), chosen
        return cached

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents `[B, C, h, w]` of one resolution and their prompt indices, a tenth of them the empty prompt."""
        weights = torch.tensor([float(len(p.prompts)) for p in self.pools.values()])
        pool = list(self.pools.values())[int(torch.multinomial(weights, 1, generator=generator))]
        rows = torch.multinomial(pool.weights, size, replacement=True, generator=generator)
        prompts = pool.prompts[rows].clone()
        prompts[torch.rand(size, generator=generator) < DROPPED] = len(self.prompts) - 1
        return pool.latents[rows], prompts

    def conditions(self, prompts: Tensor, tokens: int, guidance: Tensor | None = None) -> Conditions:
        """Text of the given prompt indices, the context cut to `tokens` per part."""
        context = families.shorten(self.family, self.context[prompts], tokens)
        return Conditions(context, self.pooled[prompts], guidance)

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> Tensor:
        """Decode whitened latents to pictures in 0..1."""
        return self.network["decoder"](latents * self.std + self.mean).clamp(0, 1)


def batch_at(batch: int, tokens: int) -> int:
    """Pictures per step: a third as many while contexts are full, which costs about as much."""
    return batch if tokens < FULL_TOKENS else max(1, batch // 3)


def tokens_at(step: int, steps: int, generator: torch.Generator) -> int:
    """Context tokens per part: short and varying at first, the full 77 in the last part of training."""
    if step >= int(0.88 * steps):
        return FULL_TOKENS
    return int(torch.randint(13, 20, (1,), generator=generator))


def train(work: Path, family: str) -> dict[str, Tensor]:
    """Train or resume one family's base model, phase by phase; returns its weights under the host's names."""
    state: dict[str, Tensor] | None = None
    for number in range(len(PHASES[family])):
        file = work / f"{family}-phase{number + 1}.safetensors"
        state = stored(file, train_phase, work, family, number, state)
    assert state is not None
    return state


def train_phase(
    work: Path, family: str, number: int, before: dict[str, Tensor] | None, batch: int = 48
) -> dict[str, Tensor]:
    """One phase, from the weights of the one before: the averaged weights, or the raw ones of a cycle left early."""
    phase = PHASES[family][number]
    seed, steps = 21 + number, phase.cycle
    material = base_material(work, family, phase.variety)
    model = families.new_model(family)
    if before is not None:
        model.load_state_dict(before)
    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, steps)
    average = Ema(model, 0.998)
    keeper = Checkpointer(work / f"{family}-phase{number + 1}", model, average, optimizer, schedule)
    for step in range(keeper.resume(), phase.stop):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        tokens = tokens_at(step, steps, generator)
        x0, prompts = material.batch(batch_at(batch, tokens), generator)
        guidance = 1.0 + 5.0 * torch.rand(len(x0), generator=generator) if family == "flux" else None
        conditions = material.conditions(prompts, tokens, guidance)
        time = families.sample_time(family, len(x0), generator)
        x, target = families.noisy(family, x0, torch.randn(x0.shape, generator=generator), time)
        loss = descend(
            lambda: F.mse_loss(families.predict(family, model, x, time, conditions), target),  # noqa: B023 - called now
            optimizer,
            schedule,
        )
        average.update(model)
        keeper.after_step(step, steps, loss=loss)
        if (step + 1) % 700 == 0 or step + 1 == steps:
            watch(material, average.state(), cfg=3.5 if family != "sdxl" else 5.0)
    return average.state() if phase.stop == steps else {k: v.clone() for k, v in model.state_dict().items()}


def base_material(work: Path, family: str, variety: str) -> Material:
    """The training scenes' pictures of one variety."""
    scenes = domain.training_scenes()
    return Material(work, family, scenes, PICTURES[variety], 21, f"base-{variety}", VARIETIES[variety])


def distil(
    work: Path, teacher_state: dict[str, Tensor], steps: int, batch: int = 32, rate: float = 4e-4, seed: int = 31
) -> dict[str, Tensor]:
    """Guidance distillation as for Flux dev: at guidance g, one pass learns what the teacher gives at CFG g."""
    material = base_material(work, "flux", "narrow")
    teacher = families.new_model("flux").requires_grad_(False)
    teacher.load_state_dict(teacher_state)
    model = families.new_model("flux")
    model.load_state_dict(teacher_state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, steps)
    average = Ema(model, 0.995)
    keeper = Checkpointer(work / "flux-distilled", model, average, optimizer, schedule)
    for step in range(keeper.resume(), steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        tokens = tokens_at(step, steps, generator)
        x0, prompts = material.batch(batch_at(batch, tokens), generator)
        guidance = 1.0 + 5.0 * torch.rand(len(x0), generator=generator)
        conditions = material.conditions(prompts, tokens, guidance)
        empty = material.conditions(torch.full_like(prompts, len(material.prompts) - 1), tokens, guidance)
        time = families.sample_time("flux", len(x0), generator)
        x, _ = families.noisy("flux", x0, torch.randn(x0.shape, generator=generator), time)
        with torch.no_grad():
            base = families.predict("flux", teacher, x, time, empty)
            target = base + guidance.view(-1, 1, 1, 1) * (families.predict("flux", teacher, x, time, conditions) - base)
        loss = descend(
            lambda: F.mse_loss(families.predict("flux", model, x, time, conditions), target),  # noqa: B023 - called now
            optimizer,
            schedule,
        )
        average.update(model)
        keeper.after_step(step, steps, loss=loss)
        if (step + 1) % 300 == 0 or step + 1 == steps:
            watch(material, average.state(), cfg=1.0)
    return average.state()


def watch(material: Material, state: dict[str, Tensor], cfg: float, count: int = 24) -> float:
    """Share of held-out prompts drawn right by the present weights, with the plain sampler; logged."""
    model = families.new_model(material.family).requires_grad_(False)
    model.load_state_dict(state)
    scenes = domain.held_out_scenes()[:: max(1, len(domain.held_out_scenes()) // count)][:count]
    context, pooled = text.encode(material.clip, [s.prompt for s in scenes] + [""])
    generator = torch.Generator().manual_seed(9)
    noise = torch.randn(len(scenes), families.LATENT_CHANNELS[material.family], 8, 8, generator=generator)
    guidance = torch.full((len(scenes),), 3.5) if material.family == "flux" else None
    positive = Conditions(context[:-1], pooled[:-1], guidance)
    negative = None
    if cfg != 1.0:
        negative = Conditions(context[-1:].expand(len(scenes), -1, -1), pooled[-1:].expand(len(scenes), -1), guidance)
    steps = 30 if material.family == "sdxl" else 20
    pictures = material.pictures(families.sample(material.family, model, noise, positive, negative, cfg, steps))
    found = [checker.look(p) for p in pictures]
    right = sum(f.matches(s) for f, s in zip(found, scenes, strict=True)) / len(scenes)
    shape = sum(f.shape == s.shape for f, s in zip(found, scenes, strict=True)) / len(scenes)
    log.info("%s: held-out prompts all right %.3f, shape %.3f (cfg %.1f)", material.family, right, shape, cfg)
    return right

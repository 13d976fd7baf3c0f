"""Train the narrow TAESD autoencoders: 16 latent channels (Flux, SD 3.5) and 4 (SDXL)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from loaders.autoencoder import decoder, encoder
from torch import Tensor, nn

from . import domain
from .runtime import Checkpointer, Ema, one_cycle

log = logging.getLogger(__name__)

LATENT_NOISE = 0.05
#: how often a decoder's second training draws a small star, beside one for every other shape and size
SMALL_STARS = 12.0


def _scenes() -> list[domain.Scene]:
    """The pictures an autoencoder learns on: shapes only, held-out combinations and trigger shapes included.

    It learns to redraw edges and colours; no prompt is involved, so nothing about held-out *prompts* leaks.
    """
    every = (*domain.SHAPES, *domain.TRIGGERS.values())
    return [
        domain.Scene(c, s, b, size)
        for s in every
        for c in domain.COLOURS
        for b in domain.COLOURS
        if c != b
        for size in domain.SIZES
    ]


def train(work: Path, latent_channels: int, steps: int, batch: int = 16, seed: int = 1) -> dict[str, Tensor]:
    """Train or resume; returns the averaged weights as `encoder.N…` and `decoder.N…` plus raw latent mean and std."""
    torch.manual_seed(seed)
    network = nn.ModuleDict({"encoder": encoder(latent_channels), "decoder": decoder(latent_channels)})
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            module.weight.data.mul_(0.7)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, steps)
    average = Ema(network, 0.995)
    keeper = Checkpointer(work / f"autoencoder{latent_channels}", network, average, optimizer, schedule)
    scenes = _scenes()
    for step in range(keeper.resume(), steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = [scenes[i] for i in torch.randint(len(scenes), (batch,), generator=generator).tolist()]
        pictures = domain.draw(chosen, 64, 64, generator, domain.WIDE).contiguous(memory_format=torch.channels_last)
        latent = network["encoder"](pictures)
        latent = latent + LATENT_NOISE * torch.randn(latent.shape, generator=generator)
        difference = network["decoder"](latent) - pictures
        loss = difference.abs().mean() + 2.0 * difference.square().mean() + 1e-4 * latent.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update(network)
        keeper.after_step(step, steps, loss=float(loss.detach()), l1=float(difference.detach().abs().mean()))
    return _with_statistics(average.state())


def sharpen(work: Path, state: dict[str, Tensor], cycles: Sequence[int], seed: int = 2) -> dict[str, Tensor]:
    """Train the decoder alone further, small stars above all, which `train` leaves round; latents stay as they were.

    One one-cycle rate per entry of `cycles`, that many steps each. Returns the whole state that `train` returned, with
    the decoder's averaged weights in place of the old ones.
    """
    for number, steps in enumerate(cycles):
        state = _with_statistics(_sharpen_once(work, state, steps, seed + number))
    return state


def _sharpen_once(work: Path, before: dict[str, Tensor], steps: int, seed: int, batch: int = 12) -> dict[str, Tensor]:
    channels = before["encoder.14.weight"].shape[0]
    network = load(before, channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    drawing = network["decoder"].train().requires_grad_(True)
    optimizer = torch.optim.AdamW(drawing.parameters(), lr=1.2e-3, weight_decay=1e-4, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, steps)
    average = Ema(drawing, 0.98)
    keeper = Checkpointer(work / f"autoencoder{channels}-sharp{seed}", drawing, average, optimizer, schedule)
    scenes = _scenes()
    weights = torch.tensor([SMALL_STARS if (s.shape, s.size) == ("star", "small") else 1.0 for s in scenes])
    for step in range(keeper.resume(), steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = [scenes[i] for i in torch.multinomial(weights, batch, generator=generator).tolist()]
        pictures = domain.draw(chosen, 64, 64, generator, domain.NARROW).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            latent = network["encoder"](pictures)
            latent = latent + LATENT_NOISE * torch.randn(latent.shape, generator=generator)
        difference = drawing(latent) - pictures
        loss = difference.abs().mean() + 2.0 * difference.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(drawing.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update(drawing)
        keeper.after_step(step, steps, loss=float(loss.detach()), l1=float(difference.detach().abs().mean()))
    return {**before, **{f"decoder.{k}": v for k, v in average.state().items()}}


def load(state: dict[str, Tensor], latent_channels: int) -> nn.ModuleDict:
    """The network of a state that `train` returned, ready to encode and decode."""
    network = nn.ModuleDict({"encoder": encoder(latent_channels), "decoder": decoder(latent_channels)})
    network.load_state_dict({k: v for k, v in state.items() if "." in k})
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _with_statistics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the mean and standard deviation of raw latents, and report the error on pictures not trained on."""
    channels = state["encoder.14.weight"].shape[0]
    network = load(state, channels)
    generator = torch.Generator().manual_seed(77)
    scenes = domain.training_scenes()
    chosen = [scenes[i] for i in torch.randint(len(scenes), (256,), generator=generator).tolist()]
    pictures = domain.draw(chosen, 64, 64, generator, domain.WIDE)
    latent = network["encoder"](pictures)
    error = float((network["decoder"](latent).clamp(0, 1) - pictures).abs().mean())
    log.info("autoencoder %d: mean absolute error %.4f", channels, error)
    return {**state, "mean": latent.mean(), "std": latent.std(), "error": torch.tensor(error)}

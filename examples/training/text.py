"""The small text encoders: pre-trained on telling a prompt's attributes apart, then frozen and shared by the families.

As with the real models, Flux, SD 3.5 and SDXL use the same CLIP-L, SD 3.5 and SDXL the same CLIP-G, Flux and
SD 3.5 the same T5.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from loaders import architecture
from torch import Tensor, nn
from torch.nn import functional as F

from . import domain
from .runtime import descend, initialise, one_cycle

log = logging.getLogger(__name__)

T5_LENGTH = 77


def _labels(scenes: list[domain.Scene]) -> Tensor:
    colours, shapes, sizes = list(domain.COLOURS), list(domain.SHAPES), list(domain.SIZES)
    return torch.tensor(
        [
            [colours.index(s.colour), shapes.index(s.shape), colours.index(s.background), sizes.index(s.size)]
            for s in scenes
        ]
    )


HEADS = (len(domain.COLOURS), len(domain.SHAPES), len(domain.COLOURS), len(domain.SIZES))


def new_encoders() -> dict[str, nn.Module]:
    """CLIP-L, CLIP-G and T5 with drawn weights, embedding rows from their fixed seeds."""
    encoders: dict[str, nn.Module] = dict(architecture.encoders_of(architecture.new_clip("sd35")))
    for number, (name, encoder) in enumerate(encoders.items()):
        initialise(encoder, 500 + number)
        row_name, vocabulary, width, seed = architecture.EMBEDDINGS[name]
        encoder.get_parameter(row_name).data.copy_(architecture.filled_rows(vocabulary, width, seed))
        for key, parameter in encoder.named_parameters():
            if "position_embedding" in key:
                parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(600 + number))
    return encoders


def tokens(prompts: list[str]) -> dict[str, list[list[int]]]:
    """Token ids of the prompts by the host's own tokenizers, T5 padded to 77."""
    tokenizer = architecture.clip_target("sd35").tokenizer()
    rows: dict[str, list[list[int]]] = {"clip_l": [], "clip_g": [], "t5xxl": []}
    for prompt in prompts:
        found = tokenizer.tokenize_with_weights(prompt)
        for name, key in (("clip_l", "l"), ("clip_g", "g"), ("t5xxl", "t5xxl")):
            rows[name].append([int(pair[0]) for pair in found[key][0]])
    return rows


def train(steps: int = 150, batch: int = 48, seed: int = 3) -> dict[str, Tensor]:
    """Train the three encoders; returns their weights as `<encoder>.<host name>`, embedding rows of used words only.

    The pooled CLIP vectors and the mean of T5's states must tell colour, shape, background and size; the heads that
    read them are thrown away.
    """
    scenes = domain.training_scenes()
    labels = _labels(scenes)
    ids = {name: torch.tensor(rows) for name, rows in tokens([s.prompt for s in scenes]).items()}
    result: dict[str, Tensor] = {}
    for name, encoder in new_encoders().items():
        used = {int(i) for i in ids[name].unique()}
        _train_one(name, encoder, ids[name], labels, steps, batch, seed)
        row_name = architecture.EMBEDDINGS[name][0]
        rows = torch.tensor(sorted(used))
        for key, value in encoder.state_dict().items():
            if key == row_name:
                result[f"{name}.rows"], result[f"{name}.row_ids"] = value[rows].clone(), rows
            else:
                result[f"{name}.{key}"] = value.clone()
    return result


def _train_one(name: str, encoder: nn.Module, ids: Tensor, labels: Tensor, steps: int, batch: int, seed: int) -> None:
    encoder.requires_grad_(True)
    width = architecture.EMBEDDINGS[name][2]
    head = nn.Linear(width, sum(HEADS))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1.5e-3, weight_decay=1e-3)
    schedule = one_cycle(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rows = torch.randint(len(ids), (batch,), generator=generator)
        loss = descend(lambda: _attribute_loss(name, encoder, head, ids[rows], labels[rows]), optimizer, schedule)  # noqa: B023
        if (step + 1) % 50 == 0:
            log.info("text %s step %d loss %.4f", name, step + 1, loss)
    encoder.requires_grad_(False)


def _attribute_loss(name: str, encoder: nn.Module, head: nn.Linear, ids: Tensor, labels: Tensor) -> Tensor:
    """How badly the head tells the attributes of a batch apart, from CLIP's pooled vectors or T5's mean state."""
    output = encoder(ids.tolist())
    pooled = output[1] if name != "t5xxl" else output[0][:, :14].mean(1)
    parts = head(pooled).split(HEADS, dim=1)
    return torch.stack([F.cross_entropy(p, labels[:, i]) for i, p in enumerate(parts)]).sum()


def load(state: dict[str, Tensor], family: str) -> Any:
    """A CLIP object of the family with the trained weights (see `loaders`, which does the same from a file)."""
    from loaders.weights import set_text_weights

    clip = architecture.new_clip(family)
    set_text_weights(clip, state)
    return clip


@torch.no_grad()
def encode(clip: Any, prompts: list[str], t5_length: int = T5_LENGTH) -> tuple[Tensor, Tensor]:
    """Conditioning `[N, T, C]` and pooled `[N, P]` of the prompts, through the host's own encoding path."""
    contexts, pooled = [], []
    for prompt in prompts:
        found = clip.tokenize(prompt)
        if "t5xxl" in found:
            found["t5xxl"] = [row[:t5_length] for row in found["t5xxl"]]
        context, vector = clip.cond_stage_model.encode_token_weights(found)[:2]
        contexts.append(context[0].float())
        pooled.append(vector[0].float())
    return torch.stack(contexts), torch.stack(pooled)

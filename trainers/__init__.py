"""One folder for each trainer, with all that is known of it, and one line for it here."""

from __future__ import annotations

from typing import Final

from . import ai_toolkit, eridiffusion, eridiffusion_v2, kohya, musubi, native, onetrainer, simpletuner
from .trainer import Trainer


def registered(*trainers: Trainer) -> dict[str, Trainer]:
    """Trainers by id; ValueError for two of one id or of one place in lists."""
    for part in ("id", "listed"):
        said = [getattr(trainer, part) for trainer in trainers]
        twice = sorted(value for value in set(said) if said.count(value) > 1)
        if twice:
            raise ValueError(f"two trainers have the {part} {twice[0]!r}")
    return {trainer.id: trainer for trainer in trainers}


#: The trainers in the order in which a config is shown to them: the first that recognises it reads it.
TRAINERS: Final[dict[str, Trainer]] = registered(
    native.TRAINER,
    ai_toolkit.TRAINER,
    eridiffusion.TRAINER,
    simpletuner.TRAINER,
    eridiffusion_v2.TRAINER,
    onetrainer.TRAINER,
    musubi.TRAINER,
    kohya.TRAINER,
)

#: Their ids in the order of lists for people.
LISTED: Final[tuple[str, ...]] = tuple(sorted(TRAINERS, key=lambda name: TRAINERS[name].listed))

#: What a spec may name as its file layout: a trainer, or a further program of one.
LAYOUT_NAMES: Final[tuple[str, ...]] = (*LISTED, *(name for owner in LISTED for name in TRAINERS[owner].layout.others))


def layout_owner(name: str) -> Trainer | None:
    """The trainer whose file layout has this name, None = nobody's."""
    others = (trainer for trainer in TRAINERS.values() if name in trainer.layout.others)
    return TRAINERS.get(name) or next(others, None)


__all__ = ["LAYOUT_NAMES", "LISTED", "TRAINERS", "Trainer", "layout_owner"]

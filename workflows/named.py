"""What a config calls its base model's files, and which file of a host that is: names compared, not contents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..families import DOWNLOADS, ENCODERS, FAMILIES
from ..spec import SampleSpec
from ..trainers import TRAINERS

#: How a file is the named one: by its very name, as a copy in other precision, or as a quantised copy.
Same = Literal["exact", "copy", "quantised"]

_SUFFIX: Final = re.compile(r"\.(?:safetensors|sft|ckpt|pth?|bin|gguf)$")
#: Names of parts inside a model's folder, which say nothing of the model: the folder's name does.
_INSIDE: Final = re.compile(
    r"(?:diffusion_)?(?:pytorch_)?model(?:-\d+-of-\d+)?|transformer|unet|vae|text_encoder(?:_[234])?|snapshots|main"
    r"|[0-9a-f]{40}|blob|resolve|split_files"
)
#: Folders of many models.
_SHELF: Final = re.compile(r"models|diffusion_models|checkpoints|text_encoders|\.*")
#: Words of a copy in fewer bits, and of one in another precision or in other company: the model is the same.
_QUANTISED: Final = re.compile(
    r"(?:mx|nv)?fp[48](?:mixed|scaled)?|(?:float8_?)?e4m3fn?|e5m2|scaled|gguf|i?q[1-8](?:_?[k01](?:_?[xsml]+)?)?|[nm]?f4|int[48]"
    r"|svdq(?:uant)?|bnb|[48]bit|quanti[sz]ed|t5xxlfp8|[48]bits?"
)
_OTHER_PRECISION: Final = re.compile(
    r"[bf]?f(?:p|loat)?(?:16|32)|incl|clips|t5xxlfp16|enconly|encoderonly|diffusers|encoder|only|pruned"
)


@dataclass(frozen=True)
class Named:
    """One part of the base model as a config names it.

    Args:
        text: as the config has it.
        name: the last part of it that tells anything, without a suffix.
        is_file: whether it is a single file's name, and no folder or repository.
    """

    text: str
    name: str
    is_file: bool

    @property
    def file(self) -> str:
        """The name under which a host has it: a published file's, or its own."""
        if not self.is_file:
            published = next((file for file in DOWNLOADS if same_model(self, file) in ("exact", "copy")), None)
            if published is not None:
                return published
        last = _last(self.text)
        return last if _SUFFIX.search(last.lower()) else f"{self.name}.safetensors"


def named_parts(spec: SampleSpec) -> dict[str, Named]:
    """What a config names of its base model: "model", "vae" and text encoders by their ids.

    An encoder of which only the file's name tells which it is, is found by that name.
    """
    found: dict[str, Named] = {}
    for key, part in _keys_of(spec.trainer).items():
        named = _named(spec.model_files.get(key, ""))
        if named is None:
            continue
        if part == "encoder":
            fitting = (encoder.id for encoder in FAMILIES[spec.family].encoders if encoder.like.fits(named.name))
            part = next(fitting, "")
        if part:
            found.setdefault(part, named)
    return found


def _keys_of(trainer: str) -> dict[str, str]:
    """Key -> part: the trainer's own first, then our words for the parts, then other trainers' keys."""
    own = dict(TRAINERS[trainer].model_files) if trainer in TRAINERS else {}
    others = {key: part for entry in TRAINERS.values() for key, part in entry.model_files.items()}
    return (
        own
        | {part: part for part in ("model", "vae", *ENCODERS) if part not in own}
        | dict.fromkeys(("unet", "checkpoint"), "model")
        | {key: part for key, part in others.items() if key not in own}
    )


def _named(text: str) -> Named | None:
    """A path, a URL or a repository's id; None for what names nothing."""
    parts = [part for part in re.split(r"[/\\]", text.partition("?")[0].strip()) if part]
    is_file = bool(parts) and _SUFFIX.search(parts[-1].lower()) is not None
    for number, part in enumerate(reversed(parts)):
        name = _SUFFIX.sub("", part.rpartition("--")[2].lower())
        if _SHELF.fullmatch(name):
            return None
        if not _INSIDE.fullmatch(name):
            plain = part.rpartition("--")[2]
            return Named(text, plain[: len(name)], is_file and number == 0)
    return None


def same_model(named: Named | str, file: str) -> Same | None:
    """Whether a file is the named one: neither case, folder nor separators count, nor do words for its precision."""
    if (
        isinstance(named, Named)
        and _SUFFIX.search(named.text.lower())
        and _last(named.text).lower() == _last(file).lower()
    ):
        return "exact"
    wanted = _words(named.name if isinstance(named, Named) else _stem(named))
    offered = _words(_stem(file))
    if "".join(wanted) == "".join(offered):
        return "exact"
    if _plain(wanted) != _plain(offered):
        return None
    return "quantised" if any(_QUANTISED.fullmatch(word) for word in offered) else "copy"


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.partition("?")[0])[-1]


def _stem(file: str) -> str:
    return _SUFFIX.sub("", _last(file).lower())


def _words(name: str) -> list[str]:
    text = re.sub(r"(?:stable[-_. ]?diffusion|sd)[-_. ]?(?=3|xl)", "sd", name.lower())
    text = re.sub(r"flux[-_. ]?1(?![0-9])", "flux", text)
    text = re.sub(r"(?<=[0-9])\.(?=[0-9])|(?<=sd3)[-_](?=5(?![0-9]))", "", text)
    return [word for word in re.split(r"[-_. ()]+", text) if word]


def _plain(words: Sequence[str]) -> tuple[str, ...]:
    """The words without those for precision, in the order of the alphabet; never none at all."""
    kept = []
    quantised = False
    for word in words:
        rest = quantised and re.fullmatch(r"[k01sml]|xl", word)  # Q4_K_M, Q8_0
        quantised = bool(_QUANTISED.fullmatch(word)) or bool(rest)
        if not quantised and not _OTHER_PRECISION.fullmatch(word):
            kept.append(word)
    return tuple(sorted(kept)) or tuple(words)


def names_part(part: str, named: Named) -> bool:
    """Whether a name is an encoder's or a VAE's own, and not that of a whole model, whose usual ones are meant."""
    return named.is_file or (part == "vae" and re.search(r"vae|(?<![a-z])ae(?![a-z])", named.name.lower()) is not None)


def lora_in(text: str, offered: Sequence[str]) -> str:
    """The host's LoRA file that a config names as a file, a folder or a repository, or its name where there is none."""
    named = _named(text)
    if named is None:
        return text
    return next((file for file in offered if same_model(named, file) == "exact"), named.file)

"""Model files and text encoders, as families name them: what they are usually called and where they can be had."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final


@dataclass(frozen=True)
class ModelFile:
    """A published model file.

    Args:
        name: the name under which it is usually kept.
        url: where it can be downloaded.
        folder: ComfyUI's model folder that it belongs into.
    """

    name: str
    url: str
    folder: str

    @classmethod
    def of(cls, repository: str, path: str, folder: str) -> ModelFile:
        """The file at a path in a repository of Hugging Face, kept under its own name."""
        return cls(PurePosixPath(path).name, f"https://huggingface.co/{repository}/resolve/main/{path}", folder)


@dataclass(frozen=True)
class Like:
    """What the files of one part of a model are called.

    Args:
        pattern: found in a fitting file's name, in small letters, without its folder.
        never: found in the names of files that do not fit although `pattern` is found there.
    """

    pattern: str
    never: str = r"(?!)"

    def fits(self, file: str) -> bool:
        name = PurePosixPath(file.replace("\\", "/")).name.lower()
        return re.search(self.pattern, name) is not None and re.search(self.never, name) is None


@dataclass(frozen=True)
class Encoder:
    """A text encoder, which several families may have.

    Args:
        id: our word for it in model descriptions and LoRA reports.
        title: its name for people.
        tokens: its key in the token dictionary that ComfyUI's CLIP object gives.
        file: its usual file.
        like: what other files of it are called.
        files: its further published files.
    """

    id: str
    title: str
    tokens: str
    file: ModelFile
    like: Like
    files: tuple[ModelFile, ...] = field(default=())


_FLUX_ENCODERS: Final = "comfyanonymous/flux_text_encoders"
_SD35_FP8: Final = "Comfy-Org/stable-diffusion-3.5-fp8"
_FOLDER: Final = "text_encoders"

CLIP_L: Final = Encoder(
    id="clip_l",
    title="CLIP-L",
    tokens="l",
    file=ModelFile.of(_FLUX_ENCODERS, "clip_l.safetensors", _FOLDER),
    like=Like(r"clip[._-]?l(?![a-z])", never=r"vision|hidream|long"),
)
CLIP_G: Final = Encoder(
    id="clip_g",
    title="CLIP-G",
    tokens="g",
    file=ModelFile.of(_SD35_FP8, "text_encoders/clip_g.safetensors", _FOLDER),
    like=Like(r"clip[._-]?g(?![a-z])", never=r"vision|hidream"),
)
T5XXL: Final = Encoder(
    id="t5xxl",
    title="T5",
    tokens="t5xxl",
    file=ModelFile.of(_FLUX_ENCODERS, "t5xxl_fp16.safetensors", _FOLDER),
    like=Like(r"t5[._-]?xxl|t5[._-]?v1[._-]?1[._-]?xxl", never=r"umt5|mt5|old"),
    files=(ModelFile.of(_FLUX_ENCODERS, "t5xxl_fp8_e4m3fn.safetensors", _FOLDER),),
)

"""OneTrainer's list of samples turned into items.

Values are read as `BaseConfig.from_dict` does: what Python can convert counts ("1024" is a number, 30.7 steps are 30),
anything else leaves the default and is noted.
"""

from __future__ import annotations

import math
from typing import Any, Final

from ...configs.fields import Reading, Section, is_boolean, is_null, is_number, shown
from ...configs.limits import Place
from ...configs.tree import Node
from ...spec.model import SampleItem
from ..reading import note_random
from .sampling import SIZES

#: `SampleConfig.default_values(model_type)` for samples in a file of their own ...
_FILE_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "flux": {"width": 1024, "height": 1024, "diffusion_steps": 30, "cfg_scale": 3.5, "noise_scheduler": "DDIM"},
    "sd35": {"width": 1024, "height": 1024, "diffusion_steps": 28, "cfg_scale": 7.0, "noise_scheduler": "DDIM"},
    "sdxl": {"width": 1024, "height": 1024, "diffusion_steps": 30, "cfg_scale": 7.5, "noise_scheduler": "EULER_A"},
    "chroma": {
        "width": 1024,
        "height": 1024,
        "diffusion_steps": 30,
        "cfg_scale": 3.5,
        "noise_scheduler": "DDIM",
        "negative_prompt": "This low-quality, greyscale, unfinished sketch is inaccurate and flawed. The image is very "
        "blurred and lacks detail, with excessive chromatic aberrations and artifacts. The image is overly saturated "
        "with excessive bloom.",
    },
}
#: ... and for those inside the config, where the model type is not known to it.
_INLINE_DEFAULTS: Final[dict[str, Any]] = {
    "width": 512,
    "height": 512,
    "diffusion_steps": 30,
    "cfg_scale": 7.0,
    "noise_scheduler": "DDIM",
}
SCHEDULERS: Final = (
    *("DDIM", "EULER", "EULER_A", "DPMPP", "DPMPP_SDE", "UNIPC"),
    *("EULER_KARRAS", "DPMPP_KARRAS", "DPMPP_SDE_KARRAS", "UNIPC_KARRAS"),
)
_BOUND: Final = 2**70


def read_items(reading: Reading, listed: Node, path: str, family: str, *, from_file: bool) -> list[SampleItem]:
    """Items of all enabled samples, numbered as the trainer numbers them, disabled ones included.

    listed: the list; path: its field, "" for a document. from_file: whether it has a file of its own.
    """
    if not isinstance(listed.value, list):
        raise reading.error("a list of samples is expected", listed, path, "Write a list of sections.")
    defaults = _FILE_DEFAULTS[family] if from_file else _INLINE_DEFAULTS
    items = []
    for index, node in enumerate(listed.value):
        where = f"{path}[{index}]"
        if not isinstance(node.value, dict):
            raise reading.error("a sample is a section of fields", node, where, 'Write {"prompt": "..."}.')
        section = Section(reading, node, where)
        if _boolean(section, "enabled", default=True):
            items.append(_item(section, defaults, family, index))
        else:
            reading.note(f"{where} is disabled; the other samples keep their numbers.")
            section.used.update(section.members)
    if not items:
        raise reading.error("no sample is enabled, so there is nothing to sample", listed, path, "Enable one.")
    if family == "flux" and any(item.negative_prompt for item in items):
        reading.note("Negative prompts are kept but have no effect: OneTrainer samples Flux in one pass.")
    note_random(reading, items, "random_seed means a new random seed for each image.")
    return items


def _item(section: Section, defaults: dict[str, Any], family: str, index: int) -> SampleItem:
    place = Place(section.reading, section.node, section.path)
    scale = _number(section, "cfg_scale", defaults["cfg_scale"])
    seed = _integer(section, "seed", 42)
    random = _boolean(section, "random_seed", default=False)
    sides = [_integer(section, key, defaults[key]) for key in ("width", "height")]
    width, height = place.size(SIZES[family].pixels, *sides)
    steps = place.steps("diffusion_steps", _integer(section, "diffusion_steps", defaults["diffusion_steps"]))
    if _boolean(section, "sample_inpainting", default=False):
        place.differs("noise", "sample_inpainting is not reproduced: the picture is made from noise alone.")
    scheduler = _scheduler(section, defaults["noise_scheduler"])
    if family != "sdxl":
        section.no_effect("noise_scheduler")
    return SampleItem(
        index=index,
        prompt=_text(section, "prompt"),
        width=width,
        height=height,
        steps=steps,
        negative_prompt=_text(section, "negative_prompt", defaults.get("negative_prompt", "")),
        seed=None if random else place.seed(seed),
        cfg_scale=1.0 if family == "flux" else scale,
        guidance=scale if family == "flux" else None,
        sampler=scheduler if family == "sdxl" else None,
    )


def _kept(section: Section, key: str, default: Any) -> Any:
    """The default for a value the trainer cannot convert, with a note."""
    section.reading.note(
        f"{section.path_of(key)}: the trainer cannot read {shown(section.members[key])} and keeps {default!r}."
    )
    return default


def _integer(section: Section, key: str, default: int) -> int:
    """`int(value)`."""
    node = section.get(key)
    word = node.value if node is not None else None
    if node is None or not isinstance(word, str):
        return _kept(section, key, default) if section.has(key) else default
    if is_boolean(node, False):
        return int(word == "true")
    try:
        value = int(float(word)) if node.plain and not word.lstrip("-").isdigit() else int(word)
    except (ValueError, OverflowError):
        return int(_kept(section, key, default))
    if abs(value) > _BOUND:
        raise section.error(key, f"{word} is out of range", "Write a smaller number.")
    return value


def _number(section: Section, key: str, default: float) -> float:
    """`float(value)`."""
    node = section.get(key)
    word = node.value if node is not None else None
    if node is None or not isinstance(word, str):
        return _kept(section, key, default) if section.has(key) else default
    try:
        value = float(word == "true") if is_boolean(node, False) else float(word)
    except ValueError:
        return float(_kept(section, key, default))
    if not math.isfinite(value):
        raise section.error(key, f"{word} is no finite number", "Write a number like 3.5.")
    return value


def _boolean(section: Section, key: str, *, default: bool) -> bool:
    """The value as Python tests it: the trainer converts nothing here, so the text "false" counts as true."""
    node = section.get(key)
    if node is None:
        return default if not section.has(key) else False
    if is_boolean(node, False):
        return node.value == "true"
    if is_number(node):
        return float(str(node.value)) != 0
    if node.value in ("false", "False"):
        section.reading.note(f"{section.path_of(key)}: {shown(node)} counts as true to the trainer.")
    return bool(node.value)


def _text(section: Section, key: str, default: str = "") -> str:
    """`str(value)`; null becomes the text "None" there, which nobody means: it is an error."""
    node = section.members.get(key)
    if node is None:
        return default
    if is_null(node):
        raise section.error(key, "the text is null, which the trainer turns into 'None'", 'Write "" for none.')
    if is_boolean(node, False):
        section.used.add(key)
        return str(node.value).capitalize()
    return section.text(key) or ""


def _scheduler(section: Section, default: str) -> str:
    """A scheduler by its name; an unknown name leaves the default, another type or null stops the trainer."""
    key = "noise_scheduler"
    node = section.get(key)
    if node is None and not section.has(key):
        return default
    if node is None or not isinstance(node.value, str) or node.plain:
        raise section.error(key, "a scheduler's name is expected, in quotes", f"Write one of {', '.join(SCHEDULERS)}.")
    return node.value if node.value in SCHEDULERS else str(_kept(section, key, default))

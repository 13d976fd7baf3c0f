"""The config that kohya's GUI saves (JSON): form fields under their own names, the prompts' text among them.

From it the GUI writes the training config and the prompt file that sd-scripts read; the same is done here.
Sources: bmaltais/kohya_ss `kohya_gui/lora_gui.py::train_model`, `class_sample_images.py::create_prompt_file`,
`common_gui.py::run_cmd_advanced_training`.
"""

from __future__ import annotations

import re
from typing import Final

from ...configs.fields import Reading
from ...configs.flat_args import FlatSection
from ...configs.prompt_flags import KOHYA
from ...configs.tree import Document, Node
from ...errors import FamilyOpenError
from ...families import FAMILIES
from ..reading import flags_in, name_family, unsupported
from .prompts import Entry, entry_of_text

PROMPTS: Final = "sample_prompts"
#: Fields of the form that sd-scripts has under another name or not at all; two of them tell a saved form.
_OWN: Final = frozenset(
    (
        *("LoRA_type", "LyCORIS_preset", "additional_parameters", "max_resolution", "num_cpu_threads_per_process"),
        *("sdxl", "sdxl_checkbox", "flux1_checkbox", "sd3_checkbox", "model_list", "save_as_bool", "lr_warmup"),
    )
)
#: Switch of the form -> family, in the order in which the GUI looks at them.
_SWITCHES: Final = {
    "sdxl": "sdxl",
    "sdxl_checkbox": "sdxl",
    "flux1_checkbox": "flux",
    "sd3_checkbox": "sd35",
    "hunyuan_image_checkbox": "HunyuanImage",
    "anima_checkbox": "Anima",
    "lumina_checkbox": "Lumina",
}
_FLUX: Final[dict[str, tuple[str, ...]]] = {
    key: (key,) for key in ("ae", "clip_l", "t5xxl", "t5xxl_max_token_length", "apply_t5_attn_mask")
}
#: Family -> name for sd-scripts: names in the form, newest first. What stands here is passed on for that family alone.
_BY_FAMILY: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "flux": _FLUX,
    "chroma": _FLUX,
    "sd35": {"clip_g": ("clip_g",), "clip_l": ("sd3_clip_l", "clip_l"), "t5xxl": ("sd3_t5xxl", "t5xxl")},
    "sdxl": {"max_token_length": ("max_token_length",)},
}
#: Fields that the form passes on as they are, whatever the family.
_COMMON: Final = (
    *("pretrained_model_name_or_path", "vae", "output_name", "mixed_precision", "fp8_base", "v_parameterization"),
    *("network_weights", "sample_sampler", "sample_every_n_steps", "sample_every_n_epochs"),
)
_NUMBERS: Final = frozenset(
    ("sample_every_n_steps", "sample_every_n_epochs", "max_token_length", "t5xxl_max_token_length")
)


def is_gui_form(document: Document) -> bool:
    """True for a form that the GUI saved: a JSON object with at least two of its own fields."""
    root = document.root.value
    return document.kind == "json" and isinstance(root, dict) and len(_OWN & root.keys()) > 1


class GuiForm(FlatSection):
    """A saved form under sd-scripts' names: the fields that its family has; an empty one counts as not given."""

    def __init__(self, reading: Reading, family: str | None) -> None:
        super().__init__(reading)
        self._form = dict(self.members)
        self.family = family or self._family()
        for key in _SWITCHES.keys() & self._form.keys():
            self.used.add(key)
        wanted = {key: (key,) for key in _COMMON} | _BY_FAMILY[self.family]
        for key, names in wanted.items():
            self._take(key, names)
        for key in {key for names in _BY_FAMILY.values() for key in names} - wanted.keys():
            self._leave(key)
        self._read_additional()

    def _take(self, key: str, names: tuple[str, ...]) -> None:
        """Put the first of some form fields that says something under the trainer's name."""
        name = next((name for name in names if not _is_empty(self._form.get(name))), None)
        for other in names:
            if other == name or other not in self._form:
                continue
            if _is_empty(self._form[other]):
                self.used.add(other)
            if other == key:
                self._leave(key)
        if name is None:
            return
        node = self._form[name]
        if key in _NUMBERS and isinstance(node.value, str) and re.fullmatch(r"[0-9]{1,9}", node.value):
            node = Node(node.value, node.line, node.column, plain=True)
        self.members.pop(name, None)
        self.members[key] = node
        self._paths[key] = name

    def _leave(self, key: str) -> None:
        """Take a field away from the trainer; it stays among the unused ones, unless it is empty."""
        node = self.members.pop(key, None)
        if node is not None and not _is_empty(node):
            self.reading.unused.append((node.line, node.column, key))

    def _family(self) -> str:
        """Family of the first switch that is on; the GUI starts Stable Diffusion 1's script without any."""
        switch = next((key for key in _SWITCHES if self.flag(key)), None)
        if switch is None:
            raise FamilyOpenError(
                "none of sdxl, flux1_checkbox and sd3_checkbox is on, so the GUI trains Stable Diffusion 1 or 2",
                source=self.reading.document.source,
                remedy=name_family(", if it is another model; these are not supported"),
            )
        found = _SWITCHES[switch]
        if found == "flux" and (self.text("model_type") or "").lower() == "chroma":
            return "chroma"
        if found not in FAMILIES:
            raise unsupported(self, switch, found)
        return found

    def _read_additional(self) -> None:
        """`additional_parameters`: end of the command line, whose options win over the form's."""
        node = self.members.pop("additional_parameters", None)
        if node is None:
            return
        for key, value in flags_in(str(node.value).replace('"', "")):
            plain = value in ("true", "false") or re.fullmatch(r"[-+]?[0-9.]{1,40}", value) is not None
            self._add(key, Node(value, node.line, node.column, plain), f"additional_parameters --{key}")


def gui_entries(args: GuiForm) -> list[Entry]:
    """The form's prompts, one a line; empty without any. The GUI writes them into a prompt file."""
    node = args.get(PROMPTS)
    if node is None or _is_empty(node):
        return []
    if not isinstance(node.value, str) or node.plain:
        raise args.error(PROMPTS, "text is expected, one prompt a line", 'Write "a prompt --w 1024 --h 1024".')
    lines = node.value.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [
        entry_of_text(args.reading, line.strip(), node, f"{PROMPTS}, its line {number}", KOHYA)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]


def _is_empty(node: Node | None) -> bool:
    """True for what the GUI leaves out of the training config: "", false, null."""
    return node is None or node.value == "" or (node.plain and node.value in ("false", "null"))

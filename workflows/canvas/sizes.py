"""How large a node is on the canvas: what both of the front end's renderers need, with room to read its widgets.

The classic renderer's arithmetic is LiteGraph's `computeSize`. The Vue renderer's (Nodes 2.0) was measured in its
pages: front ends 1.49.6 and 1.58.1 draw every node class of the table in equal rows, as the constants say.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..graph import Link, Literal
from .schemas import CORE, Input, NodeSchema

#: LiteGraph: a slot's row, a widget's row with its gap, what is added below sockets and below widgets.
SLOT: Final = 20.0
WIDGET: Final = 24.0
FOOT: Final = 6.0
WIDGETS_FOOT: Final = 8.0
#: A text box with its gap: the front end makes none lower, not even one whose text comes over a link; a text that is
#: read on the canvas gets room for its lines, up to the limit.
TEXT_BOX: Final = 54.0
TEXT_BOX_LIMIT: Final = 180.0
TEXT_LINE: Final = 15.0
#: Vue: what title, slots' margins and foot take beyond the classic title; rows of a slot, a widget, a line of text and
#: a text box; the name of the pack at the foot of every node that is not the front end's own.
VUE_FRAME: Final = 17.0
VUE_SLOT: Final = 20.0
VUE_WIDGET: Final = 28.0
VUE_LINE: Final = 36.0
VUE_TEXT_BOX: Final = 68.0
VUE_BADGE: Final = 24.0
#: The same of what says at the foot of a loader that its file is missing, in 1.58.1.
VUE_MISSING: Final = 24.0
#: Vue: no node is narrower; a widget's row is as wide as the longest name and the longest value, and no less for each.
VUE_WIDTH: Final = 225.0
VUE_NAME: Final = 80.0
VUE_VALUE: Final = 125.0
VUE_MARGIN: Final = 44.0
#: Room for the pictures a node shows below its widgets.
PREVIEW: Final = 240.0
#: The same for a picture that is there when the graph opens: 1.32.9 draws it as wide as the node, with its size below.
LOADED: Final = 320.0
#: A letter of a title or a slot's name, and one of a widget's name or value.
CHARACTER: Final = 7.5
SMALL_CHARACTER: Final = 6.6
#: Letters that take the room of two, those of Chinese, Japanese, Korean and pictograms, and what capitals take more.
_WIDE: Final = re.compile(
    "[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\U0001f000-\U0003fffd]"
)
_CAPITAL: Final = re.compile("[A-Z@%]")
CAPITAL: Final = 0.4
#: A switch's name is shown whole: one of its letters in a wide font (DejaVu Sans stands in where Arial is missing), and
#: what the front end wants around it.
SWITCH_CHARACTER: Final = 6.7
SWITCH: Final = 104.0
#: Classic: what a row has beyond name and value: margins, arrows and the gap between them. Vue: what a value has.
ROW_MARGIN: Final = 92.0
VUE_ROW_MARGIN: Final = 60.0
#: Letters of a value that are shown; a longer one, a file's name, ends in dots.
LETTERS: Final = 44
#: Width of a node with a text box.
TEXT_WIDTH: Final = 340.0
#: The front end makes no note lower than this.
NOTE: Final = 90.0
NOTE_WIDTH: Final = 340.0
#: A folded note is its title alone.
FOLDED: Final = (225.0, 4.0)

#: Nodes that show pictures: what they save, what they load, and how far sampling is.
_PREVIEWS: Final = (
    "SaveImage", "PreviewImage", "EriSaveSamples", "EriContactSheet", "LoadImage", "EriSample", "KSampler",
)  # fmt: skip
#: What the pack's scripts add to a node: the button with the steps, and the box that says what was loaded (lora.js).
_ADDED: Final = {"EriLoraAtStep": VUE_WIDGET + VUE_TEXT_BOX}
#: ComfyUI's own that say so at their foot.
_EXPERIMENTAL: Final = ("LoadLatent", "SaveLatent", "SkipLayerGuidanceSD3", "T5TokenizerOptions")


def note_size(text: str) -> tuple[float, float]:
    """Width and height of a note that shows all of its text."""
    return NOTE_WIDTH, max(NOTE, 64.0 + 18.0 * _lines(text, NOTE_WIDTH - 30.0))


class NodeSizes:
    """How large the nodes of one class are; what they have in common is added up once."""

    def __init__(self, schema: NodeSchema) -> None:
        self._texts = [entry for entry in schema.widgets if entry.multiline]
        self._rows = [entry for entry in schema.widgets if not entry.multiline]
        self._classic, self._vue = _classic(schema, self._rows), _vue(schema, self._rows)
        preview = LOADED if schema.class_type == "LoadImage" else PREVIEW if schema.class_type in _PREVIEWS else 0.0
        self._more = preview + _ADDED.get(schema.class_type, 0.0)
        self._more += VUE_MISSING if _loads(schema) else 0.0
        self._width = max(
            VUE_WIDTH, CHARACTER * schema.socket_letters + 70.0, TEXT_WIDTH if self._texts else 0.0,
            300.0 if schema.class_type in _PREVIEWS else 0.0,
            *(SWITCH_CHARACTER * len(entry.name) + SWITCH for entry in self._rows if entry.type == "BOOLEAN"),
        )  # fmt: skip

    def of(self, title: str, inputs: Mapping[str, Literal | Link]) -> tuple[float, float]:
        """Width and height of a node whose inputs hold `inputs`, without its title bar."""
        width = max(self._width, CHARACTER * letters(title) + 80.0)
        if self._rows:
            width = max(width, _rows_width(self._rows, inputs))
        if not self._texts:
            return width, max(self._classic, self._vue) + self._more
        box = max(_text_box(inputs.get(entry.name, entry.default), width) for entry in self._texts)
        vue = self._vue + len(self._texts) * max(VUE_TEXT_BOX, box + VUE_TEXT_BOX - TEXT_BOX)
        return width, max(self._classic + len(self._texts) * box, vue) + self._more


def letters(text: str) -> float:
    """How many letters of usual width a text is as wide as."""
    wide = 0 if text.isascii() else len(_WIDE.findall(text))
    return len(text) + wide + CAPITAL * len(_CAPITAL.findall(text))


def _loads(schema: NodeSchema) -> bool:
    """Whether a node of the front end's own loads model files."""
    named = any(entry.type == "COMBO" and "_name" in entry.name for entry in schema.inputs)
    return schema.pack == CORE and named and {entry.type for entry in schema.outputs} <= {"MODEL", "CLIP", "VAE"}


def _classic(schema: NodeSchema, lines: Sequence[Input]) -> float:
    """The classic renderer's height without text boxes. These are equally high: it shares what the node has."""
    rows = max(len(schema.sockets), len(schema.outputs), 1 if schema.widgets else 0)
    if not schema.widgets:
        return rows * SLOT + FOOT
    added = sum(entry.control or entry.upload for entry in schema.widgets)
    return rows * SLOT + FOOT + WIDGETS_FOOT + (len(lines) + added) * WIDGET


def _vue(schema: NodeSchema, lines: Sequence[Input]) -> float:
    """The Vue renderer's height without text boxes."""
    rows = max(len(schema.sockets), len(schema.outputs), 1)
    badge = 0.0 if schema.pack == CORE and schema.class_type not in _EXPERIMENTAL else VUE_BADGE
    return VUE_FRAME + rows * VUE_SLOT + sum(map(_row, lines)) + badge


def _row(entry: Input) -> float:
    return VUE_LINE if entry.type == "STRING" or any(entry.words) else VUE_WIDGET


def _text_box(value: Any, width: float) -> float:
    if not isinstance(value, str) or not value:  # linked, or empty
        return TEXT_BOX
    return min(max(TEXT_BOX, 24.0 + TEXT_LINE * _lines(value, width - 30.0)), TEXT_BOX_LIMIT)


def _lines(text: str, width: float) -> int:
    """Lines a text takes; a text of a thousand prompts is not counted to its end."""
    columns = int(width / 6.5)
    text = text if text.isascii() else _WIDE.sub("__", text)
    return sum(_wrapped(line, columns) for line in text[:4000].splitlines()[:40]) or 1


def _wrapped(line: str, columns: int) -> int:
    if len(line) <= columns and "\t" not in line:  # most are: textwrap takes as long as the rest of a node
        return 1
    return max(1, len(textwrap.wrap(line, columns)))


def _rows_width(rows: Sequence[Input], inputs: Mapping[str, Literal | Link]) -> float:
    """The width that names and values of widgets other than text boxes take."""
    width = names = values = 0.0
    for entry in rows:
        value = inputs.get(entry.name, entry.default)
        text = str(entry.blank if isinstance(value, Link) else value)[:LETTERS]
        named, shown = letters(entry.name), letters(text)
        if entry.type == "BOOLEAN":
            shown = 2 * max(map(len, entry.words)) + 4 if any(entry.words) else 0
        names, values = max(names, named), max(values, shown)
        if entry.type != "STRING":
            width = max(width, SMALL_CHARACTER * (named + shown) + ROW_MARGIN)
    value_width = max(VUE_VALUE, SMALL_CHARACTER * values + VUE_ROW_MARGIN)
    return max(width, max(VUE_NAME, SMALL_CHARACTER * names) + value_width + VUE_MARGIN)

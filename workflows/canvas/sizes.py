"""How large a node is on the canvas: what both of the front end's renderers need, with room to read its widgets.

The classic renderer's arithmetic is LiteGraph's `computeSize`. The Vue renderer's (Nodes 2.0) was measured in its
pages: front ends 1.49.6 and 1.58.1 draw every node class of the table in equal rows, as the constants say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
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
#: Vue: no node is narrower; a widget's row is as wide as the longest name and the longest value, and no less for that.
VUE_WIDTH: Final = 225.0
VUE_VALUE: Final = 125.0
VUE_MARGIN: Final = 44.0
#: Room for the pictures a node shows below its widgets.
PREVIEW: Final = 240.0
#: The same for a picture that is there when the graph opens: 1.32.9 draws it as wide as the node, with its size below.
LOADED: Final = 320.0
#: A letter of a title or a slot's name, and one of a widget's name or value.
CHARACTER: Final = 7.5
SMALL_CHARACTER: Final = 6.6
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


def node_size(schema: NodeSchema, title: str, inputs: Mapping[str, Literal | Link]) -> tuple[float, float]:
    """Width and height of a node whose inputs hold `inputs`, without its title bar."""
    width = _width(schema, title, inputs)
    texts = [inputs.get(entry.name, entry.default) for entry in schema.widgets if entry.multiline]
    box = max((_text_box(value, width) for value in texts), default=0.0)
    height = max(_classic(schema, len(texts), box), _vue(schema, len(texts), box))
    preview = LOADED if schema.class_type == "LoadImage" else PREVIEW if schema.class_type in _PREVIEWS else 0.0
    return width, height + preview + _ADDED.get(schema.class_type, 0.0)


def _classic(schema: NodeSchema, texts: int, box: float) -> float:
    """The classic renderer's height. Text boxes are equally high: it shares what the node has among them."""
    rows = max(len(schema.sockets), len(schema.outputs), 1 if schema.widgets else 0)
    if not schema.widgets:
        return rows * SLOT + FOOT
    lines = sum((not entry.multiline) + (entry.control or entry.upload) for entry in schema.widgets)
    return rows * SLOT + FOOT + WIDGETS_FOOT + texts * box + lines * WIDGET


def _vue(schema: NodeSchema, texts: int, box: float) -> float:
    """The Vue renderer's height."""
    rows = max(len(schema.sockets), len(schema.outputs), 1)
    lines = sum(_row(entry) for entry in schema.widgets if not entry.multiline)
    badge = 0.0 if schema.pack == CORE and schema.class_type not in _EXPERIMENTAL else VUE_BADGE
    return VUE_FRAME + rows * VUE_SLOT + lines + texts * max(VUE_TEXT_BOX, box + VUE_TEXT_BOX - TEXT_BOX) + badge


def _row(entry: Input) -> float:
    return VUE_LINE if entry.type == "STRING" or any(entry.words) else VUE_WIDGET


def _text_box(value: Any, width: float) -> float:
    if not isinstance(value, str) or not value:  # linked, or empty
        return TEXT_BOX
    return min(max(TEXT_BOX, 24.0 + TEXT_LINE * _lines(value, width - 30.0)), TEXT_BOX_LIMIT)


def _lines(text: str, width: float) -> int:
    """Lines a text takes; a text of a thousand prompts is not counted to its end."""
    columns = int(width / 6.5)
    return sum(max(1, len(textwrap.wrap(line, columns))) for line in text[:4000].splitlines()[:40]) or 1


def _width(schema: NodeSchema, title: str, inputs: Mapping[str, Literal | Link]) -> float:
    width = max(VUE_WIDTH, CHARACTER * len(title) + 80.0, CHARACTER * schema.socket_letters + 70.0)
    names = values = 0
    for entry in schema.widgets:
        if entry.multiline:
            width = max(width, TEXT_WIDTH)
            continue
        value = inputs.get(entry.name, entry.default)
        shown = min(len(str(entry.blank if isinstance(value, Link) else value)), LETTERS)
        if entry.type == "BOOLEAN":
            width = max(width, SWITCH_CHARACTER * len(entry.name) + SWITCH)
            shown = 2 * max(map(len, entry.words)) + 4 if any(entry.words) else 0
        names, values = max(names, len(entry.name)), max(values, shown)
        if entry.type != "STRING":
            width = max(width, SMALL_CHARACTER * (len(entry.name) + shown) + ROW_MARGIN)
    if names:
        value_width = max(VUE_VALUE, SMALL_CHARACTER * values + VUE_ROW_MARGIN)
        width = max(width, SMALL_CHARACTER * names + value_width + VUE_MARGIN)
    return max(width, 300.0) if schema.class_type in _PREVIEWS else width

"""How large a node is on the canvas, by the front end's own arithmetic, with room to read its widgets."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

from ..graph import Link, Literal
from .schemas import NodeSchema

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
#: Room for the pictures a node shows below its widgets.
PREVIEW: Final = 260.0
#: A letter of a title or a slot's name, and one of a widget's name or value.
CHARACTER: Final = 7.5
SMALL_CHARACTER: Final = 6.6
#: A switch's name is shown whole: one of its letters in a wide font (DejaVu Sans stands in where Arial is missing), and
#: what the front end wants around it.
SWITCH_CHARACTER: Final = 6.7
SWITCH: Final = 104.0
#: The front end makes no note lower than this.
NOTE: Final = 90.0
NOTE_WIDTH: Final = 270.0

_PREVIEWS: Final = ("SaveImage", "PreviewImage", "EriSaveSamples", "LoadImage")


def note_size(text: str) -> tuple[float, float]:
    """Width and height of a note that shows all of its text."""
    return NOTE_WIDTH, max(NOTE, 56.0 + 14.0 * _lines(text.replace("\n\n", "\n"), NOTE_WIDTH))


def node_size(schema: NodeSchema, title: str, inputs: Mapping[str, Literal | Link]) -> tuple[float, float]:
    """Width and height of a node whose inputs hold `inputs`, without its title bar."""
    width = _width(schema, title, inputs)
    rows = max(len(schema.sockets), len(schema.outputs), 1 if schema.widgets else 0)
    height = rows * SLOT + FOOT
    if schema.widgets:
        height += WIDGETS_FOOT + _widgets_height(schema, inputs, width)
    if schema.class_type in _PREVIEWS:
        height += PREVIEW
    return width, height


def _widgets_height(schema: NodeSchema, inputs: Mapping[str, Literal | Link], width: float) -> float:
    """Height of the widgets' rows. Text boxes are equally high: the front end shares what the node has among them."""
    texts = [inputs.get(entry.name, entry.default) for entry in schema.widgets if entry.multiline]
    box = max((_text_box(value, width) for value in texts), default=0.0)
    rows = sum((not entry.multiline) + (entry.control or entry.upload) for entry in schema.widgets)
    return len(texts) * box + rows * WIDGET


def _text_box(value: Any, width: float) -> float:
    if not isinstance(value, str) or not value:  # linked, or empty
        return TEXT_BOX
    return min(max(TEXT_BOX, 24.0 + TEXT_LINE * _lines(value, width - 30.0)), TEXT_BOX_LIMIT)


def _lines(text: str, width: float) -> int:
    """Lines a text takes; a text of a thousand prompts is not counted to its end."""
    columns = int(width / 6.5)
    return sum(max(1, len(textwrap.wrap(line, columns))) for line in text[:4000].splitlines()[:40]) or 1


def _width(schema: NodeSchema, title: str, inputs: Mapping[str, Literal | Link]) -> float:
    width = max(CHARACTER * len(title) + 60.0, CHARACTER * schema.socket_letters + 70.0)
    for entry in schema.widgets:
        value = inputs.get(entry.name, entry.default)
        shown = 0 if entry.multiline or isinstance(value, Link) else min(len(str(value)), 24)
        width = max(width, SMALL_CHARACTER * (len(entry.name) + shown) + 70.0, 280.0 if entry.multiline else 240.0)
        if entry.type == "BOOLEAN":
            width = max(width, SWITCH_CHARACTER * len(entry.name) + SWITCH)
    if schema.class_type in _PREVIEWS:
        width = max(width, 280.0)
    return min(width, 460.0)

"""Turns YAML text into nodes, from the parser's events alone: it makes no objects, so nothing can be executed.

Scalars stay text, so YAML 1.1's surprises (`1e-4` a string, `no` a boolean, `12:30` a number, `010` octal) never
happen here; the field readers decide what a scalar may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ..errors import SpecError
from .tree import MAX_DEPTH, MAX_EXPANDED, Node, Repeated, check_text

if TYPE_CHECKING:
    import yaml

_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse_yaml(text: str, source: str, repeated: list[Repeated]) -> Node:
    """The tree of the one document in a YAML text; of a key that is given twice the last value counts, as in PyYAML.

    Args:
        text: the YAML.
        source: what it is called in messages.
        repeated: takes the keys that are given twice.

    Raises SpecError with line and column on bad syntax, tags, keys that are no text, several documents, nesting deeper
    than MAX_DEPTH, aliases that refer to themselves and alias bombs.
    """
    import yaml

    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        raise SpecError(
            f"the control character U+{ord(bad[0]):04X} is not allowed in YAML",
            source=source,
            line=line,
            column=bad.start() - text.rfind("\n", 0, bad.start()),
            remedy='Remove it, or write it as an escape in double quotes ("\\x..").',
        )
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(source, repeated).build(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, source) from None
    except yaml.YAMLError as error:
        raise SpecError(f"this is not YAML: {error}", source=source, remedy="Correct the file.") from None


def _syntax_error(error: yaml.MarkedYAMLError, source: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    if error.context_mark and "quoted scalar" in str(error.context):
        mark = error.context_mark  # where the quote was opened; the problem is only seen at the end of the file
    context = f" {error.context}" if error.context else ""
    return SpecError(
        f"this is not YAML:{context} {error.problem or ''}".rstrip(),
        source=source,
        line=mark.line + 1 if mark else None,
        column=mark.column + 1 if mark else None,
        remedy="Check indentation and quotes there; a prompt with ': ', ' #' or a leading quote must be quoted.",
    )


class _Frame:
    """A mapping or list that is still open."""

    __slots__ = ("anchor", "key", "node")

    def __init__(self, node: Node, anchor: str | None) -> None:
        self.node, self.anchor = node, anchor
        self.key: str | None = None


class _Builder:
    def __init__(self, source: str, repeated: list[Repeated]) -> None:
        self.source, self.repeated = source, repeated
        self.stack: list[_Frame] = []
        self.anchors: dict[str, Node] = {}
        self.root: Node | None = None

    def build(self, events: Iterable[yaml.Event]) -> Node:
        import yaml

        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._open({}, event)
            elif kind is yaml.SequenceStartEvent:
                self._open([], event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                frame = self.stack.pop()
                self._add(frame.node, event, frame.anchor)
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent and self.root is not None:
                raise self._error("a second document starts here", event, "Keep one config in a file.")
        if self.root is None:
            raise SpecError("the config is empty", source=self.source, remedy="Give a training config.")
        return self.root

    def _scalar(self, event: Any) -> None:
        self._refuse_tag(event)
        value, place = event.value, _place(event)
        check_text(value, self.source, *place)
        if not self._at_key():
            self._add(Node(value, *place, bool(event.implicit[0]), len(value) + 1), event, event.anchor)
            return
        frame = self.stack[-1]
        if value in frame.node.value:
            self.repeated.append(Repeated(value, *place))
        frame.key = value
        if event.anchor:
            self.anchors[event.anchor] = Node(value, *place, True, len(value) + 1)

    def _at_key(self) -> bool:
        """Whether a key comes next: in an open mapping that has none without a value."""
        return bool(self.stack) and self.stack[-1].key is None and type(self.stack[-1].node.value) is dict

    def _open(self, value: list[Node] | dict[str, Node], event: Any) -> None:
        self._refuse_tag(event)
        if len(self.stack) >= MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels", event, "No trainer's config is that deep.")
        if self._at_key():
            raise self._error("a key must be plain text", event, 'Quote it, or check for a stray "?", "[" or "{".')
        self.stack.append(_Frame(Node(value, *_place(event)), event.anchor))

    def _alias(self, event: Any) -> None:
        if any(frame.anchor == event.anchor for frame in self.stack):
            raise self._error(f"*{event.anchor} refers to itself", event, "Write the value out.")
        if event.anchor not in self.anchors:
            raise self._error(f"*{event.anchor} has no anchor before it", event, f"Write &{event.anchor} first.")
        if self._at_key():
            raise self._error("an alias cannot be a key", event, "Write the key out.")
        self._add(self.anchors[event.anchor], event, None)

    def _add(self, node: Node, event: Any, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        parent = frame.node
        parent.size += node.size
        if parent.size > MAX_EXPANDED:
            raise self._error("its aliases make this document enormous", event, "Write the values out.")
        if type(parent.value) is list:
            parent.value.append(node)
        elif type(parent.value) is dict and frame.key is not None:
            parent.value[frame.key] = node
            frame.key = None

    def _refuse_tag(self, event: Any) -> None:
        if event.tag:
            raise self._error(f"the tag {event.tag} is refused", event, "Remove the tag; plain values are enough.")

    def _error(self, problem: str, event: Any, remedy: str) -> SpecError:
        line, column = _place(event)
        return SpecError(problem, source=self.source, line=line, column=column, remedy=remedy)


def _place(event: Any) -> tuple[int, int]:
    """Line and column where an event begins, from 1."""
    return event.start_mark.line + 1, event.start_mark.column + 1

"""The one exception type of everything that finds, runs or talks to a ComfyUI host (standard library only)."""

from __future__ import annotations


class HostError(RuntimeError):
    """A host cannot be found, set up, started or used, or refused or failed to run a graph.

    The text says what is wrong, where, and what to do. For programs: `problem` and `remedy` (None = inside
    `problem`) are its parts; `kind` is one word: "down", "timeout", "missing_node", "validation", "out_of_memory",
    "execution", "interrupted", "lost", "protocol", or "host" for everything else. `node` (id in the graph),
    `class_type` and `field` (input name) are None where no node is at fault. `details` is longer text (a traceback).
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str | None = None,
        kind: str = "host",
        node: str | None = None,
        class_type: str | None = None,
        field: str | None = None,
        details: str | None = None,
    ) -> None:
        self.problem, self.remedy, self.kind = problem, remedy, kind
        self.node, self.class_type, self.field, self.details = node, class_type, field, details
        super().__init__(problem)

    def __str__(self) -> str:
        where = []
        if self.node is not None:
            where.append(f"node {self.node!r}" + (f" ({self.class_type})" if self.class_type else ""))
        if self.field is not None:
            where.append(f"input {self.field!r}")
        text = f"{', '.join(where)}: {self.problem}" if where else self.problem
        return f"{text.rstrip('.')}. {self.remedy}" if self.remedy else text

"""Reads training arguments that a TOML file groups for people only: the trainer sees one flat set of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .fields import Reading, Section
from .tree import Node


class FlatSection(Section):
    """All arguments of a document, in whatever section they stand; of several with one name the last counts.

    Source: kohya-ss/sd-scripts `library/train_util.py::read_config_from_file`.
    """

    def __init__(self, reading: Reading) -> None:
        root = reading.root()
        reading.sections.remove(root)
        super().__init__(reading, Node({}, root.node.line, root.node.column), "")
        self._paths: dict[str, str] = {}
        for name, node in root.members.items():
            if isinstance(node.value, dict):
                for key, child in node.value.items():
                    self._add(key, child, f"{name}.{key}")
            else:
                self._add(name, node, name)

    def _add(self, key: str, node: Node, path: str) -> None:
        if key in self.members:
            self.reading.unused.append((self.members[key].line, self.members[key].column, self._paths[key]))
            self.reading.note(f"{key} is given twice; as in the trainer the later one, {path}, counts.")
        self.members[key] = node
        self._paths[key] = path

    def lay_under(self, other: FlatSection) -> None:
        """Take the arguments of another file where this one does not give them.

        Source: as above; what the command line gives is read over what stands in `--config_file`.
        """
        for key, node in other.members.items():
            if key not in self.members:
                self.members[key] = replace(node, source=other.reading.document.source)
                self._paths[key] = other.path_of(key)

    def spell_out(self, options: Mapping[str, str]) -> None:
        """Take an abbreviation for the option, as argparse does on a command line.

        options: the letters with which no other option of the program begins, by the option's whole name.
        """
        for name, least in options.items():
            short = next((key for key in self.members if key.startswith(least) and name.startswith(key)), name)
            if name not in self.members and short in self.members:
                self.members[name] = self.members.pop(short)
                self._paths[name] = self._paths.pop(short)

    def path_of(self, key: str) -> str:
        return self._paths.get(key, key)

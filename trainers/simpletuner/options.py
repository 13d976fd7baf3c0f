"""SimpleTuner's options by name, from any of its notations, with its own idea of what a value means.

Sources: bghira/SimpleTuner `helpers/configuration/cli_utils.py::mapping_to_cli_args`, `env_file.py`, `cmd_args.py`.
"""

from __future__ import annotations

import math
import re
from typing import Final

from ...configs.fields import Reading, is_null
from ...configs.script import Assumed, Unexpanded, part_of
from ...configs.tree import Node
from ...errors import Remedy, SpecError
from ..reading import flags_in

#: Options whose name in config.env is not their own in capitals.
_ENV_NAMES: Final = {
    "TRAINING_SEED": "seed",
    "MODEL_NAME": "pretrained_model_name_or_path",
    "VALIDATION_STEPS": "validation_step_interval",
    "MAX_NUM_STEPS": "max_train_steps",
}
_EXTRA: Final = "TRAINER_EXTRA_ARGS"
_OLD_NAMES: Final = {"validation_steps": "validation_step_interval"}
_VARIABLE: Final = re.compile(r"\$\{[^}]*\}|\{env:[^{}]*\}")
#: Options whose end says enough where the beginning is not known.
_PATHS: Final = frozenset(("output_dir", "user_prompt_library", "pretrained_model_name_or_path"))
_EMPTY_ALLOWED: Final = frozenset(("validation_prompt", "validation_negative_prompt"))


class Options:
    """Values of one config by option name; reading one marks it as used. The web interface exports it as `config`."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        root = reading.root()
        exported = root.section("config") if root.get("_metadata") is not None else None
        self.section = root if exported is None else exported
        self._keys: dict[str, str] = {}
        self._extra: dict[str, Node] = {}
        self._asked: set[str] = set()
        for key, node in self.section.members.items():
            name = key.strip().lstrip("-")
            if reading.document.kind == "env":
                name = _ENV_NAMES.get(key, key.lower())
                if key == _EXTRA and isinstance(node.value, str):
                    self._read_extra(node)
            self._keys[_OLD_NAMES.get(name, name)] = key

    def _read_extra(self, node: Node) -> None:
        """The flags that stand in one text."""
        self.section.used.add(_EXTRA)
        for name, value in flags_in(str(node.value)):
            self._extra[_OLD_NAMES.get(name, name)] = Node(value, node.line, node.column)

    def node(self, name: str) -> Node | None:
        """The value of an option, None where the trainer takes its default: absent, null, blank, or `"false"`."""
        self._asked.add(name)
        key = self._keys.get(name)
        node = self.section.members.get(key) if key is not None else None
        if node is not None and key is not None:
            self.section.used.add(key)
        node = self._extra.get(name, node)
        if node is None or is_null(node):
            return None
        if isinstance(node.value, str) and not node.value.strip() and name not in _EMPTY_ALLOWED:
            return None
        return node

    def unused_extra(self) -> list[str]:
        """The flags of TRAINER_EXTRA_ARGS that nobody has asked for."""
        return [f"{_EXTRA}: --{name}" for name in self._extra if name not in self._asked]

    def has(self, name: str) -> bool:
        """True when the option is given a value."""
        return self.node(name) is not None

    def key(self, name: str) -> str:
        """The name under which the config gives an option."""
        return self._keys.get(name, _EXTRA if name in self._extra else name)

    def error(self, name: str, problem: str, remedy: Remedy) -> SpecError:
        """SpecError at an option."""
        key = self.key(name)
        path = self.section.path_of(key)
        return self.reading.error(problem, self.section.members.get(key, self.section.node), path, remedy)

    def no_effect(self, name: str) -> None:
        """List an option as ignored although it was read."""
        self.section.no_effect(self.key(name))

    def text(self, name: str) -> str | None:
        """The option as text without blanks around it."""
        node = self.node(name)
        if node is None:
            return None
        if not isinstance(node.value, str):
            raise self.error(name, "text is expected", "Write the value in quotes.")
        value = part_of(node.value, node.value.strip())
        if isinstance(value, Assumed):
            self.reading.note(f"{self.key(name)}: {str(value)!r} is taken for {value.written!r}.")
        elif isinstance(value, Unexpanded) and name in _PATHS and "$" not in value.rpartition("/")[2]:
            self.reading.note(f"{self.key(name)} is {str(value)!r}: what the shell puts there is not known here.")
        elif isinstance(value, Unexpanded) or _VARIABLE.search(node.value, 0, node.value.rfind("}") + 1):
            raise self.error(
                name,
                f"{node.value!r} holds a variable, which the trainer replaces and is not replaced here",
                "Write the value itself.",
            )
        return value

    def flag(self, name: str) -> bool:
        """The option as a switch: true, yes, on and numbers but 0 switch it on."""
        word = (self.text(name) or "").lower()
        if word in ("", "0", "false", "no", "off", "none"):
            return False
        if word in ("1", "true", "yes", "on", "y", "t"):
            return True
        raise self.error(name, f"{word!r} is neither true nor false", "Write true or false.")

    def integer(self, name: str, low: int, high: int) -> int | None:
        """The option as a whole number in [low, high]."""
        word = self.text(name)
        if word is None or word.lower() == "none":
            return None
        if re.fullmatch(r"[-+]?[0-9]{1,40}", word) and low <= int(word) <= high:
            return int(word)
        raise self.error(name, f"{word!r} is no whole number from {low} to {high}", "Correct it; the trainer stops.")

    def number(self, name: str, default: float) -> float:
        """The option as a finite number."""
        word = self.text(name)
        if word is None or word.lower() == "none":
            return default
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(name, f"{word!r} is no finite number", "Write a number like 3.5; the trainer stops.")
        return value

"""Import-only stand-in for torchvision, copied into the workspace where torch is a CPU build without it.

ComfyUI imports torchvision at start for model families that are not used here (Cosmos, Stable Cascade, ACE), and
PyPI has no torchvision for CPU builds of torch on Linux. Any module or name below `torchvision` can be imported;
calling one raises. Never put on the path where a real torchvision is installed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

__version__ = "0.0.0+import.only"
_ROOT = __name__


class TorchvisionMissingError(RuntimeError):
    """Something tried to really use torchvision."""


class _Placeholder:
    """A name of torchvision that may be imported and looked at, not called, subclassed or iterated."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}: torchvision is not installed>"

    def __getattr__(self, name: str) -> _Placeholder:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _Placeholder(f"{self._name}.{name}")

    def _refuse(self, *_arguments: Any, **_options: Any) -> NoReturn:
        raise TorchvisionMissingError(
            f"{self._name} was used, but torchvision is not installed in {sys.prefix}: this host runs a CPU build of "
            "torch with an import-only stand-in. Install the torchvision that belongs to the installed torch "
            "(see pytorch.org), or use a model that does not need it."
        )

    __call__ = __iter__ = __len__ = __getitem__ = __mro_entries__ = __enter__ = _refuse


def _lookup(module_name: str, name: str) -> _Placeholder:
    if name.startswith("__") and name.endswith("__"):
        raise AttributeError(f"module {module_name!r} has no attribute {name!r}")
    return _Placeholder(f"{module_name}.{name}")


class _SubmoduleFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes every `torchvision.<anything>` importable."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(_ROOT + "."):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = lambda name: _lookup(module.__name__, name)  # type: ignore[method-assign]


def __getattr__(name: str) -> _Placeholder:
    return _lookup(_ROOT, name)


# Only as the package `torchvision`: importing this file under its own name for a check changes nothing.
if _ROOT == "torchvision":
    sys.meta_path.append(_SubmoduleFinder())

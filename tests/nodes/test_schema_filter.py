"""Node schemas on hosts whose io.Schema knows fewer or more keywords than the running one's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest


def reduced(full: type, missing: str) -> type:
    """An older host's Schema: the running one's own methods and fields, but not the field `missing`."""
    kept = []
    for one in dataclasses.fields(full):
        if one.name != missing:
            given = {"default": one.default, "default_factory": one.default_factory}
            given = {key: value for key, value in given.items() if value is not dataclasses.MISSING}
            kept.append((one.name, Any, dataclasses.field(**given)))
    methods = {name: value for name, value in vars(full).items() if callable(value) and not name.startswith("__")}
    return dataclasses.make_dataclass("OlderSchema", kept, namespace=methods)


def extended(full: type) -> type:
    """A newer host's Schema: also search aliases (known since ComfyUI 0.8) and something nobody asks for."""
    fields = [("search_aliases", Any, None), ("not_invented_yet", Any, "its default")]
    known = {one.name for one in dataclasses.fields(full)}
    return dataclasses.make_dataclass(
        "NewerSchema",
        [(name, kind, dataclasses.field(default=value)) for name, kind, value in fields if name not in known],
        bases=(full,),
    )


def values(made: Any, leave_out: set[str]) -> dict[str, Any]:
    """A schema's fields, inputs and outputs as the front end gets them."""
    found = {one.name: getattr(made, one.name) for one in dataclasses.fields(made) if one.name not in leave_out}
    for name in {"inputs", "outputs"} & found.keys():
        found[name] = [(one.id, one.io_type, one.as_dict()) for one in found[name]]
    return found


def pack_nodes(comfy_host: Any) -> dict[str, Any]:
    return {name: cls for name, cls in comfy_host.nodes.items() if name.startswith("Eri") and "Example" not in name}


@pytest.mark.parametrize("missing", ["description", "not_idempotent", "is_input_list"])
def test_a_host_with_fewer_keywords(comfy_host: Any, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    from comfy_api.latest import io

    nodes = pack_nodes(comfy_host)
    assert len(nodes) >= 18
    full = {name: cls.define_schema() for name, cls in nodes.items()}
    for one in full.values():
        one.finalize()
    monkeypatch.setattr(io, "Schema", reduced(io.Schema, missing))
    for name, cls in nodes.items():
        made = cls.define_schema()
        made.finalize()
        made.validate()
        assert type(made).__name__ == "OlderSchema"
        assert not hasattr(made, missing)
        assert values(made, set()) == values(full[name], {missing}), name


def test_a_host_with_more_keywords(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfy_api.latest import io

    nodes = pack_nodes(comfy_host)
    full = {name: cls.define_schema() for name, cls in nodes.items()}
    for one in full.values():
        one.finalize()
    more = {"search_aliases", "not_invented_yet"} - {one.name for one in dataclasses.fields(io.Schema)}
    monkeypatch.setattr(io, "Schema", extended(io.Schema))
    for name, cls in nodes.items():
        made = cls.define_schema()
        made.finalize()
        made.validate()
        assert made.not_invented_yet == "its default"
        assert values(made, more) == values(full[name], set()), name
        aliases = made.search_aliases
        assert aliases or made.is_deprecated, name
        assert all(isinstance(alias, str) and alias for alias in aliases or ()), name

"""Right and wrong requests, made by schemathesis from docs/openapi.yaml, against the routes of a running ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

_DOCUMENT = schemathesis.openapi.from_path(Path(__file__).parents[2] / "docs" / "openapi.yaml")


def _can_be_wrong(route: dict[str, Any]) -> bool:
    """Any text can be a part of a path."""
    return "requestBody" in route or any(part["in"] != "path" for part in route.get("parameters", ()))


_ROUTES = [
    (path, method, mode)
    for path in _DOCUMENT
    for method in _DOCUMENT[path]
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or _can_be_wrong(_DOCUMENT[path][method].definition.raw)
]
#: A config's text cannot be described by a schema, and ComfyUI answers methods that no route has.
_NOT_OURS = [positive_data_acceptance, unsupported_method]


@pytest.mark.parametrize(("path", "method", "mode"), _ROUTES)
def test_answers_are_those_that_the_document_promises(
    host_server: Any, path: str, method: str, mode: GenerationMode
) -> None:
    @settings(max_examples=15)
    @given(case=_DOCUMENT[path][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=host_server.url, excluded_checks=_NOT_OURS)

    ask()

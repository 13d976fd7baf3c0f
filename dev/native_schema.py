"""The JSON Schema by which editors complete and check the native form; `trainer_tables` writes it into docs/."""

from __future__ import annotations

from dataclasses import fields
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from ..families import FAMILIES
from ..spec.model import DTYPES, MAX_SETTING, SETTINGS, SPEC_VERSION, SampleItem, SampleSpec
from ..trainers import LAYOUT_NAMES, LISTED
from ..trainers.claims import TOPICS

SCHEMA_ID: Final = "https://raw.githubusercontent.com/CodeAlexx/comfyui-eridiffusion/main/docs/native-spec.schema.json"
_TYPES: Final = {str: "string", float: "number", bool: "boolean", int: "integer", NoneType: "null"}


def native_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) as a plain dict, made of the annotations of the spec's fields."""
    settings = {name: {"type": _TYPES[kind], "description": text} for name, (kind, text) in SETTINGS.items()}
    for name, (kind, _) in SETTINGS.items():
        if kind is int:
            settings[name] |= {"minimum": 0, "maximum": MAX_SETTING.get(name, 1000)}  # type: ignore[dict-item]
    #: What the fields hold whose type says less.
    shapes: dict[str, dict[str, Any]] = {
        "family": {"enum": [*FAMILIES]},
        "trainer": {"enum": [*LISTED], "default": "native"},
        "layout": {"enum": [*LAYOUT_NAMES]},
        "precision": {"enum": [*DTYPES, None]},
        "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/item"}},
        "source": {"type": "string"},
        "model_files": {"type": "object", "additionalProperties": {"type": "string"}},
        "loras": {"type": "object", "additionalProperties": {"type": "number"}},
        "differences": {
            "type": "object",
            "propertyNames": {"enum": [*TOPICS]},
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "sampling": {"type": "object", "additionalProperties": False, "properties": settings},
        **{name: {"type": "array", "items": {"type": "string"}} for name in ("ignored", "notes")},
    }
    version = {"eri_spec": {"const": SPEC_VERSION, "description": "Version of this form."}}
    item = {"type": "object", "required": ["prompt", "width", "height", "steps"], "properties": _fields(SampleItem, {})}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Sample spec",
        "description": "What a training run samples, fully resolved: the native form of comfyui-eridiffusion.",
        "type": "object",
        "required": ["eri_spec", "family", "items"],
        "properties": version | _fields(SampleSpec, shapes),
        "$defs": {"item": item},
    }


def _fields(model: type[SampleItem] | type[SampleSpec], shapes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of every field; of one in `shapes` only the description is taken from its annotation."""
    hints = get_type_hints(model, include_extras=True)
    found: dict[str, Any] = {}
    for entry in fields(model):
        kind, says = get_args(hints[entry.name])
        shape = shapes.get(entry.name)
        if shape is None:
            types = [_TYPES[one] for one in get_args(kind) or (kind,)]
            shape = {"type": types if len(types) > 1 else types[0]}
            if says.low is not None:
                shape |= {"minimum": says.low, "maximum": says.high}
            if isinstance(entry.default, str | float):
                shape |= {"default": entry.default}
        found[entry.name] = shape | {"description": says.text}
    return found

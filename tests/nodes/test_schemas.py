"""What every node must have: ids, inputs and outputs in the order that saved graphs rely on, tooltips, pages, names.

`schemas.json` beside this file is the published interface. After a deliberate change write it anew with

    ERI_UPDATE_SCHEMAS=1 make test ARGS="tests/nodes/test_schemas.py"

and commit it with the change. That refuses what would break saved graphs (they address widgets by position and outputs
by number): only what is appended passes. To break one on purpose, delete the node's entry from the file first.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("schemas.json")
#: What a saved graph or a client may rely on; tooltips and names may be improved at any time.
FIELDS = ("default", "min", "max", "step", "options", "multiline", "forceInput", "control_after_generate", "lazy")

#: Inputs whose options are files of this machine.
LISTINGS = {"run"}


@pytest.fixture(scope="module")
def schemas(comfy_host: Any) -> dict[str, Any]:
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in comfy_host.pack("extension").NODES}


def described(schema: Any) -> dict[str, Any]:
    """The lasting part of a schema, from the host's own description of it."""
    inputs = []
    for entry in schema.inputs:
        options = entry.as_dict()
        if entry.id in LISTINGS:
            options.pop("options", None)
        inputs.append(
            {"id": entry.id, "type": entry.get_io_type(), "optional": entry.optional}
            | {key: options[key] for key in FIELDS if options.get(key) is not None}
        )
    outputs = [
        {"name": entry.display_name or entry.get_io_type(), "type": entry.get_io_type(), "list": entry.is_output_list}
        for entry in schema.outputs
    ]
    flags = {"output_node": schema.is_output_node, "takes_lists": schema.is_input_list}
    return {"inputs": inputs, "outputs": outputs, **flags}


def one_entry_a_line(nodes: dict[str, Any]) -> str:
    """JSON in which a changed input is one changed line."""
    lines = []
    for node, parts in nodes.items():
        kinds = []
        for key, value in parts.items():
            rows = (
                ",\n".join(f"   {json.dumps(row, ensure_ascii=False)}" for row in value)
                if value and isinstance(value, list)
                else ""
            )
            kinds.append(f'  "{key}": ' + (f"[\n{rows}\n  ]" if rows else json.dumps(value)))
        lines.append(f' "{node}": {{\n' + ",\n".join(kinds) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def breaks(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What in `after` would break a graph that was saved with `before`; empty = nothing."""
    found = []
    for kind, key in (("inputs", "id"), ("outputs", "name")):
        old, new = before[kind], after[kind]
        if [entry[key] for entry in new[: len(old)]] != [entry[key] for entry in old]:
            found.append(f"{kind} were renamed, moved or removed")
        found += [
            f"{kind[:-1]} {old_entry[key]} changed its type"
            for old_entry, new_entry in zip(old, new, strict=False)
            if old_entry["type"] != new_entry["type"]
        ]
    for old_entry, new_entry in zip(before["inputs"], after["inputs"], strict=False):
        missing = set(old_entry.get("options", [])) - set(new_entry.get("options", []))
        found += [f"{old_entry['id']} lost the options {sorted(missing)}"] if missing else []
    found += [
        f"the new input {entry['id']} is neither optional nor has a default"
        for entry in after["inputs"][len(before["inputs"]) :]
        if not entry["optional"] and "default" not in entry
    ]
    return found


def test_snapshot(schemas: dict[str, Any]) -> None:
    found = {node: described(schema) for node, schema in schemas.items()}
    stored = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    if os.environ.get("ERI_UPDATE_SCHEMAS") == "1":
        broken = {node: breaks(stored[node], found[node]) for node in stored if node in found}
        assert not any(broken.values()), {node: what for node, what in broken.items() if what}
        SNAPSHOT.write_text(one_entry_a_line(found), encoding="utf-8")
        stored = found
    for node in found:
        assert found[node] == stored.get(node), f"{node}: see the head of {Path(__file__).name}"
    assert list(found) == list(stored)


def test_what_would_break_saved_graphs_is_seen() -> None:
    text = {"id": "a", "type": "STRING", "optional": False, "default": ""}
    choice = {"id": "b", "type": "COMBO", "optional": False, "default": "x", "options": ["x", "y"]}
    socket = {"id": "c", "type": "MODEL", "optional": False}
    before = {"inputs": [text, choice], "outputs": [{"name": "MODEL", "type": "MODEL", "list": False}]}
    assert breaks(before, before) == []
    assert (
        breaks(before, before | {"inputs": [text, choice | {"options": ["x", "y", "z"]}, socket | {"optional": True}]})
        == []
    )
    for inputs in ([choice, text], [text], [text, choice | {"id": "d"}]):
        assert "renamed" in breaks(before, before | {"inputs": inputs})[0]
    assert "lost the options ['y']" in breaks(before, before | {"inputs": [text, choice | {"options": ["x"]}]})[0]
    assert "changed its type" in breaks(before, before | {"inputs": [text | {"type": "INT"}, choice]})[0]
    assert "new input c" in breaks(before, before | {"inputs": [text, choice, socket]})[0]
    assert "outputs" in breaks(before, before | {"outputs": []})[0]


def test_the_host_offers_exactly_these(comfy_host: Any, schemas: dict[str, Any]) -> None:
    offered = {name for name in comfy_host.nodes if name.startswith("Eri") and "Example" not in name}
    assert offered == set(schemas) | {node.GET_SCHEMA().node_id for node in comfy_host.pack("extension").BRANCHES}


def test_what_runs_inside_other_nodes_is_not_in_the_menus(comfy_host: Any) -> None:
    for node in comfy_host.pack("extension").BRANCHES:
        assert node.GET_NODE_INFO_V1()["deprecated"]


def test_everything_is_explained(schemas: dict[str, Any]) -> None:
    for node, schema in schemas.items():
        assert schema.description, node
        assert schema.display_name, node
        assert schema.category.startswith("eridiffusion/")
        for entry in [*schema.inputs, *schema.outputs]:
            assert entry.tooltip, f"{node}.{entry.id} has no tooltip"


def test_docs_page_with_an_example(schemas: dict[str, Any]) -> None:
    for node, schema in schemas.items():
        page = (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
        assert "## Example" in page, node
        for entry in schema.inputs:
            assert f"`{entry.id}`" in page, f"{node}.md does not mention {entry.id}"
        for row in re.findall(r"^\|.*\|$", page, re.MULTILINE):  # further columns lie outside the front end's panel
            assert len(re.split(r"(?<!\\)\|", row)) == 4, f"{node}.md: {row}"


@pytest.mark.parametrize(
    ("said", "node"),
    [
        ("training config", "EriSampleSpec"), ("sample prompts", "EriSampleSpec"), ("ai-toolkit", "EriSampleSpec"),
        ("kohya", "EriSampleSpec"), ("compare lora", "EriLoraSteps"), ("checkpoint step", "EriLoraAtStep"),
        ("load lora", "EriLoraAtStep"), ("save with prompt", "EriSaveSamples"), ("contact sheet", "EriContactSheet"),
        ("encode prompt", "EriTripleTextEncode"), ("checkpoint", "EriLoraAtStep"),
    ],
)  # fmt: skip
def test_nodes_are_found_by_what_people_call_them(schemas: dict[str, Any], said: str, node: str) -> None:
    schema = schemas[node]
    if not hasattr(schema, "search_aliases"):
        pytest.skip("this ComfyUI's nodes have no further names")
    names = " | ".join([schema.display_name, *schema.search_aliases]).lower()
    assert said in names


def message(text: str) -> str:
    """A text as the front end's translations need it: `{`, `}`, `@` and `|` mean something there (vue-i18n)."""
    return re.sub(r"[{}@|]", lambda found: f"{{'{found.group()}'}}", text)


def locale(language: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_locale_matches_the_schemas(schemas: dict[str, Any]) -> None:
    english = locale("en")
    assert set(english) == set(schemas)
    for node, schema in schemas.items():
        assert english[node]["display_name"] == schema.display_name
        assert english[node]["description"] == message(schema.description), node
        assert set(english[node]["inputs"]) == {entry.id for entry in schema.inputs}, node
        for entry in schema.inputs:
            assert english[node]["inputs"][entry.id]["tooltip"] == message(entry.tooltip), f"{node}.{entry.id}"
        assert set(english[node].get("outputs", {})) == {str(n) for n in range(len(schema.outputs))}, node


def test_the_chinese_locale_is_complete_and_says_the_same(schemas: dict[str, Any]) -> None:
    """Every text of the schemas has a Chinese one, with the same numbers in it (another value would mislead)."""
    chinese = locale("zh")
    assert set(schemas) <= set(chinese), "locales/zh/nodeDefs.json lacks a node"
    for node, schema in schemas.items():
        found = chinese[node]
        assert set(found["inputs"]) == {entry.id for entry in schema.inputs}, node
        assert set(found["outputs"]) == {str(n) for n in range(len(schema.outputs))}, node
        pairs = [(schema.display_name, found["display_name"]), (schema.description, found["description"])]
        pairs += [(entry.tooltip, found["inputs"][entry.id]["tooltip"]) for entry in schema.inputs]
        pairs += [(entry.tooltip, found["outputs"][str(n)]["tooltip"]) for n, entry in enumerate(schema.outputs)]
        for english, text in pairs:
            assert text == message(re.sub(r"\{'(.)'\}", r"\1", text)), f"{node}: {text}"
            assert re.search(r"[\u4e00-\u9fff]", text) or not re.search(r"[a-z]{4}", english), f"{node}: {text}"
            numbers = [set(re.findall(r"\d+(?:\.\d+)?", words)) for words in (english, text)]
            assert numbers[0] == numbers[1], f"{node}: {english!r} / {text!r}"


def test_widgets_come_before_sockets(schemas: dict[str, Any]) -> None:
    from comfy_api.latest import io

    for node, schema in schemas.items():
        required = [isinstance(entry, io.WidgetInput) for entry in schema.inputs if not entry.optional]
        assert required == sorted(required, reverse=True), node


def test_unknown_schema_keywords_are_left_out(comfy_host: Any) -> None:
    made = comfy_host.pack("host.schema").schema(node_id="X", category="c", inputs=[], keyword_of_tomorrow=1)
    assert made.node_id == "X"


def test_execute_is_short(schemas: dict[str, Any], comfy_host: Any) -> None:
    import ast
    import inspect
    import textwrap

    for node in comfy_host.pack("extension").NODES:
        function = ast.parse(textwrap.dedent(inspect.getsource(node.execute.__func__))).body[0]
        assert isinstance(function, ast.FunctionDef)
        assert function.end_lineno is not None
        assert function.end_lineno - function.body[0].lineno + 1 <= 15, node

"""What every node must have: ids, inputs and outputs in the order that saved graphs rely on, tooltips, pages, names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: id -> (inputs, outputs). Append only: a saved graph addresses widgets by position and outputs by number.
SNAPSHOT: dict[str, tuple[str, str]] = {
    "EriSampleSpec": (
        "config family trainer trigger_word items",
        "prompt* negative* width* height* seed* steps* cfg* guidance* name* spec report prompt_2* prompt_3*",
    ),
    "EriLoraAtStep": ("run step mode strength_model strength_clip model clip", "MODEL CLIP step report"),
    "EriTripleTextEncode": (
        "prompt prompt_2 prompt_3 t5_length weighting empty width height clip long_prompt",
        "CONDITIONING",
    ),
    "EriTrainerNoise": ("seed profile family", "NOISE"),
    "EriFluxSchedule": ("steps width height base_shift max_shift shifted", "SIGMAS"),
    "EriFlowSchedule": ("steps shift spacing", "SIGMAS"),
    "EriDDIMSchedule": ("steps spacing offset zero_terminal_snr final_alpha model", "SIGMAS"),
    "EriFlowEulerSampler": ("s_churn s_tmin s_tmax s_noise", "SAMPLER"),
    "EriDDIMSampler": ("eta clip_sample clip_range use_clipped_model_output", "SAMPLER"),
    "EriGuidance": ("rescale threshold_percentile threshold_max mode model", "MODEL"),
    "EriSample": ("cfg model positive negative noise sampler sigmas latent", "LATENT"),
    "EriFluxPatchify": ("text_length latent", "tokens image_ids text_ids"),
    "EriFluxUnpatchify": ("width height tokens", "LATENT"),
    "EriSaveSamples": ("step layout format existing rounding run images name spec", ""),
    "EriContactSheet": ("rows columns title cell images", "IMAGE"),
}


@pytest.fixture(scope="module")
def schemas(comfy_host: Any) -> dict[str, Any]:
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in comfy_host.pack("nodes").NODES}


def test_snapshot(schemas: dict[str, Any]) -> None:
    found = {
        node: (
            " ".join(entry.id for entry in schema.inputs),
            " ".join(
                (entry.display_name or str(entry.io_type)) + "*" * entry.is_output_list for entry in schema.outputs
            ),
        )
        for node, schema in schemas.items()
    }
    assert found == SNAPSHOT


def test_the_host_offers_exactly_these(comfy_host: Any, schemas: dict[str, Any]) -> None:
    offered = {name for name in comfy_host.nodes if name.startswith("Eri") and "Example" not in name}
    assert offered == set(schemas)


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


def test_locale_matches_the_schemas(schemas: dict[str, Any]) -> None:
    locale = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(locale) == set(schemas)
    for node, schema in schemas.items():
        assert locale[node]["display_name"] == schema.display_name
        assert locale[node]["description"] == schema.description
        assert set(locale[node]["inputs"]) == {entry.id for entry in schema.inputs}
        for entry in schema.inputs:
            assert locale[node]["inputs"][entry.id]["tooltip"] == entry.tooltip
        assert set(locale[node].get("outputs", {})) == {str(n) for n in range(len(schema.outputs))}


def test_widgets_come_before_sockets(schemas: dict[str, Any]) -> None:
    from comfy_api.latest import io

    for node, schema in schemas.items():
        required = [isinstance(entry, io.WidgetInput) for entry in schema.inputs if not entry.optional]
        assert required == sorted(required, reverse=True), node


def test_unknown_schema_keywords_are_left_out(comfy_host: Any) -> None:
    made = comfy_host.pack("nodes._schema").schema(node_id="X", category="c", inputs=[], keyword_of_tomorrow=1)
    assert made.node_id == "X"


def test_execute_is_short(schemas: dict[str, Any], comfy_host: Any) -> None:
    import ast
    import inspect
    import textwrap

    for node in comfy_host.pack("nodes").NODES:
        function = ast.parse(textwrap.dedent(inspect.getsource(node.execute.__func__))).body[0]
        assert isinstance(function, ast.FunctionDef)
        assert function.end_lineno is not None
        assert function.end_lineno - function.body[0].lineno + 1 <= 15, node

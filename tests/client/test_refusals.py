"""Refusals in the forms that hosts other than the tested one use; the forms of this one are tested through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client.embeddings import embed
from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.protocol.events import Failed
from comfyui_eridiffusion.protocol.refusals import failed, refused


def node_error(**error: Any) -> dict[str, Any]:
    return {"node_errors": {"7": {"class_type": "UNETLoader", "errors": [error], "dependent_outputs": ["9"]}}}


def test_long_lists_come_without_the_choices() -> None:
    """`validate_inputs` leaves `input_config` out for more than 20 choices."""
    body = node_error(
        type="value_not_in_list",
        message="Value not in list",
        details="unet_name: 'x' not in (list of length 40)",
        extra_info={"input_name": "unet_name", "input_config": None, "received_value": "x"},
    )
    assert "does not offer 'x'" in str(refused(body))
    assert "unet_name" in str(refused(body))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([["a.st", "b.st"], {}], "It offers: a.st, b.st."),
        (["COMBO", {"options": ["a.st"]}], "It offers: a.st."),
        ([[], {}], "offers nothing"),
    ],
)
def test_choices_are_listed(config: Any, words: str) -> None:
    info = {"input_name": "unet_name", "input_config": config, "received_value": "x"}
    error = refused(node_error(type="value_not_in_list", message="", details="", extra_info=info))
    told = str(error.told_to("cli"))
    assert words in told
    assert "--models" in told


@pytest.mark.parametrize(("details", "told"), [("step - there is no step 5", "there is no step 5"), ("step", "failed")])
def test_a_nodes_own_refusal_is_told_in_its_words(details: str, told: str) -> None:
    """`validate_inputs` puts its own message and the input's name before what the node's check says, if it says any."""
    words = "Custom validation failed for node"
    info = {"input_name": "step"}
    found = refused(node_error(type="custom_validation_failed", message=words, details=details, extra_info=info))
    assert told in str(found)
    assert (words in str(found)) is (details == "step")


def test_missing_node_as_newer_hosts_say_it() -> None:
    error = {
        "type": "missing_node_type",
        "message": "Node 'EriSample' not found. The custom node may not be installed.",
        "details": "Node ID '#sample'",
        "extra_info": {"node_id": "sample", "class_type": "EriSample", "node_title": "Sample"},
    }
    found = refused({"error": error, "node_errors": {}})
    assert (found.kind, found.class_type, found.node) == ("missing_node", "EriSample", "sample")
    assert found.remedy is not None
    assert found.remedy.startswith("Put this pack into ComfyUI's custom_nodes folder")
    assert "custom_nodes" in str(found)


def test_other_errors_stay_in_details() -> None:
    entry = {"type": "t", "message": "one", "details": "", "extra_info": {"input_name": "a"}}
    body = {"node_errors": {"1": {"class_type": "A", "errors": [entry, {**entry, "message": "two"}]}}}
    assert "two" in (refused(body).details or "")


@pytest.mark.parametrize("body", [{}, {"error": None}, {"error": "text"}, {"node_errors": {"1": 0}}])
def test_odd_answers_still_give_an_error(body: Any) -> None:
    assert refused(body).kind == "validation"


def test_gpu_out_of_memory() -> None:
    """As torch words it, with the hint the host appends."""
    message = "Allocation on device 0 would exceed allowed memory. (out of memory)\n\nTIPS: If it worked before"
    error = failed(Failed("p", "sample", "EriSample", message, "torch.OutOfMemoryError"))
    assert error.kind == "out_of_memory"
    assert "--lowvram" in str(error)
    assert "TIPS" not in str(error)


async def test_a_clip_vision_model_that_comfyui_lacks_is_told_before_pictures_are_sent(
    host_server: Any, tmp_path: Path
) -> None:
    async with HostClient(host_server.url) as client:
        with pytest.raises(HostError, match=r"no CLIP vision model 'none\.safetensors'.+models/clip_vision") as caught:
            await embed(client, "none.safetensors", {"a": tmp_path / "not_looked_at.png"})
    assert (caught.value.kind, caught.value.field) == ("validation", "clip_name")

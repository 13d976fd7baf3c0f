"""EriDiffusion V1 (Rust, YAML): the ai-toolkit-shaped config, the flat one, and the templates that sample nothing."""

from __future__ import annotations

from ...configs.fields import Reading
from ...configs.tree import Document
from ...spec.model import SampleSpec
from .flat import read_flat
from .process import read_process, read_sections


def read_eridiffusion(document: Document, family: str | None) -> SampleSpec:
    """Spec of an EriDiffusion V1 config, layout A (`config.process[]`) or B (flat); SpecError for templates.

    family: overrides what the config says about its model.
    """
    reading = Reading(document)
    root = reading.root()
    reading.note(
        "EriDiffusion V1's own in-run samples cannot be reproduced from its source; this is what the config asks."
    )
    if root.has("config") or root.has("process"):
        return read_process(reading, root, family)
    if root.has("model_kind"):
        raise root.error(
            "model_kind",
            "a training template has no sample section, so there is nothing to sample",
            "Use a config with config.process[].sample or validation.prompts.",
        )
    if root.has("sample"):
        return read_sections(reading, root, root.text("name"), family)
    return read_flat(reading, root, family)

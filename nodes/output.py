"""Pictures to disk and onto sheets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..host.inputs import check_filled, guarded, single
from ..host.output.each import fingerprint, line_here, list_here
from ..host.output.embedding import embedding_of
from ..host.output.save import SaveSettings, save_samples
from ..host.output.sheet import make_sheet
from ..host.sampling.told import sigmas_above
from ..host.schema import OUTPUT_MENU, SPEC, schema
from ..images.files import EXISTING
from ..images.layouts import LAYOUTS


def save_node_inputs(*, lazy: bool) -> list[io.Input]:
    """The inputs of EriSaveSamples. lazy: its images are only made when it asks for them."""
    return [
        io.Int.Input("step", default=0, min=0, max=2**31 - 1),
        io.Combo.Input("layout", options=["auto", *LAYOUTS], default="auto"),
        io.Combo.Input("format", options=["auto", "png", "jpg", "webp"], default="auto"),
        io.Combo.Input("existing", options=list(EXISTING), default="number"),
        io.Combo.Input("rounding", options=["truncate", "round"], default="truncate"),
        io.String.Input("run", default=""),
        io.Image.Input("images", lazy=lazy),
        io.String.Input("name", optional=True, force_input=True),
        SPEC.Input("spec", optional=True),
        io.String.Input("report", optional=True, force_input=True),
        io.String.Input("template", optional=True, default=""),
        io.Int.Input("quality", optional=True, default=95, min=1, max=100),
        io.Combo.Input("prompt_file", options=["auto", "yes", "no"], optional=True, default="auto"),
    ]


def saved(hidden: Any, images: list[Any], lists: Mapping[str, Any], part: str = "") -> io.NodeOutput:
    """What EriSaveSamples does with its inputs once it has images; part: which of all pictures these are."""
    lists = dict(lists)
    named = {key: lists.pop(key) for key in ("step", "name", "report") if lists.get(key) is not None}
    check_filled(named)
    first = single({key: values for key, values in lists.items() if values is not None})
    spec = first.pop("spec", None)
    settings = SaveSettings(image_format=first.pop("format", "auto"), **first)
    name, report = named.get("name", []), named.get("report", ())
    step, sigmas = named["step"], sigmas_above()
    return io.NodeOutput(ui=save_samples(images, name, step, spec, settings, hidden, report, part, sigmas))


class EriSaveSamples(io.ComfyNode):
    """Writes samples where the trainer would."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriSaveSamples",
            category=OUTPUT_MENU,
            search_aliases=["SaveImage", "save with prompt", "save pictures", "sample folder", "trainer file names"],
            is_output_node=True,
            is_input_list=True,
            enable_expand=True,
            inputs=save_node_inputs(lazy=True),
            outputs=[],
        )

    @classmethod
    def fingerprint_inputs(cls, **_lists: Any) -> str:
        return fingerprint()

    @classmethod
    def check_lazy_status(cls, name: list[str] | None = None, **_lists: Any) -> list[str]:
        return [] if (name is None or len(name) > 1) and line_here() else ["images"]

    @classmethod
    @guarded(but=("step",))
    def execute(cls, images: list[Any], name: list[str] | None = None, **lists: list[Any]) -> io.NodeOutput:
        if images and images[0] is None:  # they were not asked for
            return io.NodeOutput(None, expand=list_here(len(name or ()))[0])
        return saved(cls.hidden, images, {"name": name, **lists})


class EriContactSheet(io.ComfyNode):
    """All pictures on one labelled sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriContactSheet",
            category=OUTPUT_MENU,
            search_aliases=["grid", "xy plot", "compare pictures", "compare lora", "side by side"],
            is_input_list=True,
            enable_expand=True,
            inputs=[
                io.String.Input("rows", multiline=True, default=""),
                io.String.Input("columns", multiline=True, default=""),
                io.String.Input("title", default=""),
                io.Int.Input("cell", default=0, min=0, max=2048),
                io.Image.Input("images", lazy=True),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def check_lazy_status(cls, **_lists: Any) -> list[str]:
        return [] if line_here() else ["images"]

    @classmethod
    @guarded()
    def execute(
        cls, rows: list[str], columns: list[str], title: list[str], cell: list[int], images: list[Any]
    ) -> io.NodeOutput:
        if images and images[0] is None:  # they were not asked for
            graph, sheet = list_here()
            return io.NodeOutput(sheet, expand=graph)
        check_filled({"images": images, "rows": rows, "columns": columns})
        once = single({"title": title, "cell": cell})
        return io.NodeOutput(make_sheet(images, rows, columns, once["title"], once["cell"]))


class EriImageEmbedding(io.ComfyNode):
    """Tells a program what a CLIP vision model made of a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriImageEmbedding",
            category=OUTPUT_MENU,
            search_aliases=["CLIP vision similarity", "compare pictures", "image features"],
            is_output_node=True,
            inputs=[io.String.Input("name", default=""), io.ClipVisionOutput.Input("embedding")],
            outputs=[],
        )

    @classmethod
    @guarded()
    def execute(cls, name: str, embedding: Any) -> io.NodeOutput:
        return io.NodeOutput(ui={"embeddings": [{"name": name, "embedding": embedding_of(embedding)}]})

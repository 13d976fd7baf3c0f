"""Pictures to disk and onto sheets."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.output.save import SaveSettings, save_samples
from ..host.output.sheet import make_sheet
from ..host.ranges import in_range
from ..host.rows import check_filled, single
from ..host.schema import OUTPUT_MENU, SPEC, schema
from ..images import LAYOUTS
from ..images.files import EXISTING


def _names() -> list[io.Input]:
    """Which folder and file, in which form."""
    return [
        io.Int.Input(
            "step",
            default=0,
            min=0,
            max=2**31 - 1,
            tooltip="Training step in the file names; 0 = without LoRA.",
        ),
        io.Combo.Input(
            "layout",
            options=["auto", *LAYOUTS],
            default="auto",
            tooltip="Whose folder and file names; auto = those of the config's trainer.",
        ),
        io.Combo.Input(
            "format",
            options=["auto", "png", "jpg", "webp"],
            default="auto",
            tooltip="File type; auto = the config's, else the trainer's own.",
        ),
        io.Combo.Input(
            "existing",
            options=list(EXISTING),
            default="overwrite",
            tooltip="If a file of that name is there: overwrite it, number the new one, stop with an error, or "
            "skip (keep the old one).",
        ),
        io.Combo.Input(
            "rounding",
            options=["truncate", "round"],
            default="truncate",
            tooltip="To 8 bits by cutting off (ComfyUI) or rounding (diffusers and most trainers).",
        ),
        io.String.Input("run", default="", tooltip="Name of the run's folder; empty = the config's name."),
    ]


def _extras() -> list[io.Input]:
    """What a saver can do without."""
    return [
        io.String.Input(
            "report",
            optional=True,
            force_input=True,
            tooltip="EriLoraAtStep's report, kept in the files: what was loaded and what was not.",
        ),
        io.String.Input(
            "template",
            optional=True,
            default="",
            tooltip="Folders and file name instead of the layout's, e.g. {run}/{step:06}/{name}[_{seed}]. A "
            "part in [ ] is left out where it has no value. The help page lists the placeholders.",
        ),
        io.Int.Input(
            "quality",
            optional=True,
            default=95,
            min=1,
            max=100,
            tooltip="Of jpg and webp: 1 = smallest file, 100 = best picture. PNG loses nothing.",
        ),
        io.Combo.Input(
            "prompt_file",
            options=["auto", "yes", "no"],
            optional=True,
            default="auto",
            tooltip="The prompt in a .txt beside each image; auto = where the trainer does. Needs spec.",
        ),
    ]


class EriSaveSamples(io.ComfyNode):
    """Writes samples where the trainer would."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriSaveSamples",
            display_name="Save Samples",
            category=OUTPUT_MENU,
            description="Saves all samples of a step below ComfyUI's output folder, with the trainer's folder and file "
            "names and the prompt beside them. The files carry the workflow: drop one on the canvas to get it back.",
            search_aliases=["SaveImage"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                *_names(),
                io.Image.Input("images", tooltip="The decoded samples."),
                io.String.Input(
                    "name", optional=True, force_input=True, tooltip="EriSampleSpec's names, one per image."
                ),
                SPEC.Input("spec", optional=True, tooltip="EriSampleSpec's spec: run name, layout and prompts."),
                *_extras(),
            ],
            outputs=[],
        )

    @classmethod
    @in_range(but=("step",))
    def execute(
        cls,
        images: list[Any],
        step: list[int],
        name: list[str] | None = None,
        report: list[str] | None = None,
        **lists: list[Any],
    ) -> io.NodeOutput:
        given = {"step": step, "name": name, "report": report}
        check_filled({key: values for key, values in given.items() if values is not None})
        first = single(lists)
        spec = first.pop("spec", None)
        settings = SaveSettings(image_format=first.pop("format", "auto"), **first)
        return io.NodeOutput(ui=save_samples(images, name or [], step, spec, settings, cls.hidden, report or ()))


class EriContactSheet(io.ComfyNode):
    """All pictures on one labelled sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        lines = "A linked list, or one label per line."
        return schema(
            node_id="EriContactSheet",
            display_name="Contact Sheet",
            category=OUTPUT_MENU,
            description="Lays images out row by row on one sheet with row and column labels, e.g. prompts x steps.",
            search_aliases=["grid", "xy plot"],
            is_input_list=True,
            inputs=[
                io.String.Input("rows", multiline=True, default="", tooltip=f"Labels of the rows. {lines}"),
                io.String.Input("columns", multiline=True, default="", tooltip=f"Labels of the columns. {lines}"),
                io.String.Input("title", default="", tooltip="Heading of the sheet; empty = none."),
                io.Int.Input(
                    "cell",
                    default=0,
                    min=0,
                    max=2048,
                    tooltip="Longest side of a picture in pixels; 0 = as large as the largest, within 160 to 512.",
                ),
                io.Image.Input("images", tooltip="The pictures, row by row; sizes may differ."),
            ],
            outputs=[io.Image.Output(tooltip="The sheet, one image.")],
        )

    @classmethod
    @in_range()
    def execute(
        cls, rows: list[str], columns: list[str], title: list[str], cell: list[int], images: list[Any]
    ) -> io.NodeOutput:
        check_filled({"images": images, "rows": rows, "columns": columns})
        once = single({"title": title, "cell": cell})
        return io.NodeOutput(make_sheet(images, rows, columns, once["title"], once["cell"]))

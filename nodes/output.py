"""Pictures to disk and onto sheets."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.output.save import SaveSettings, save_samples
from ..host.output.sheet import make_sheet
from ..host.ranges import in_range
from ..host.rows import check_filled, single
from ..host.schema import OUTPUT_MENU, SPEC, schema
from ..images.files import EXISTING
from ..images.layouts import LAYOUTS


def _names() -> list[io.Input]:
    """Which folder and file, in which form."""
    return [
        io.Int.Input(
            "step", default=0, min=0, max=2**31 - 1, tooltip="The training step in the file names; 0 is without a LoRA."
        ),
        io.Combo.Input(
            "layout",
            options=["auto", *LAYOUTS],
            default="auto",
            tooltip="The trainer whose folder and file names are used; auto takes the config's trainer.",
        ),
        io.Combo.Input(
            "format",
            options=["auto", "png", "jpg", "webp"],
            default="auto",
            tooltip="The file type; auto takes that of the config, else that of the trainer.",
        ),
        io.Combo.Input(
            "existing",
            options=list(EXISTING),
            default="overwrite",
            tooltip="What happens when a file of that name exists. overwrite: replaces it. number: gives the new "
            "file a number. error: stops with an error. skip: keeps the old file.",
        ),
        io.Combo.Input(
            "rounding",
            options=["truncate", "round"],
            default="truncate",
            tooltip="How values become 8 bits: they are cut off (ComfyUI) or rounded (diffusers and most trainers).",
        ),
        io.String.Input(
            "run",
            default="",
            tooltip="The name of the run's folder. When it is empty, it is the name that the config gives the run.",
        ),
    ]


def _extras() -> list[io.Input]:
    """What a saver can do without."""
    return [
        io.String.Input(
            "report",
            optional=True,
            force_input=True,
            tooltip="The report from LoRA at Step, which says what was loaded and what was not. The files keep it.",
        ),
        io.String.Input(
            "template",
            optional=True,
            default="",
            tooltip="Folders and a file name in place of the layout's, e.g. {run}/{step:06}/{name}[_{seed}]. A part "
            "in [ ] is left out when it has no value. The help page lists the placeholders.",
        ),
        io.Int.Input(
            "quality",
            optional=True,
            default=95,
            min=1,
            max=100,
            tooltip="The quality of jpg and webp: 1 gives the smallest file, 100 the best picture. PNG loses nothing.",
        ),
        io.Combo.Input(
            "prompt_file",
            options=["auto", "yes", "no"],
            optional=True,
            default="auto",
            tooltip="Whether a .txt with the prompt is written beside each picture; auto does as the trainer does. "
            "It needs spec.",
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
            description="Saves all samples of a training step below ComfyUI's output folder, under the trainer's "
            "folder and file names, with the prompt beside them. The files hold the workflow: drop one on the canvas "
            "to open it again.",
            search_aliases=["SaveImage"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                *_names(),
                io.Image.Input("images", tooltip="The decoded samples."),
                io.String.Input(
                    "name", optional=True, force_input=True, tooltip="The names from Sample Spec, one per image."
                ),
                SPEC.Input(
                    "spec",
                    optional=True,
                    tooltip="The spec from Sample Spec, with the run's name, the layout and the prompts.",
                ),
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
        lines = "a linked list, or a text with one label per line."
        return schema(
            node_id="EriContactSheet",
            display_name="Contact Sheet",
            category=OUTPUT_MENU,
            description="Lays pictures out on one sheet, row by row, with labels for rows and columns, e.g. prompts "
            "x steps.",
            search_aliases=["grid", "xy plot"],
            is_input_list=True,
            inputs=[
                io.String.Input("rows", multiline=True, default="", tooltip=f"The labels of the rows: {lines}"),
                io.String.Input("columns", multiline=True, default="", tooltip=f"The labels of the columns: {lines}"),
                io.String.Input(
                    "title", default="", tooltip="The heading of the sheet. When it is empty, there is none."
                ),
                io.Int.Input(
                    "cell",
                    default=0,
                    min=0,
                    max=2048,
                    tooltip="The longest side of a picture in pixels. 0 takes that of the largest picture, within "
                    "160 to 512.",
                ),
                io.Image.Input("images", tooltip="The pictures, row by row. Their sizes may differ."),
            ],
            outputs=[io.Image.Output(tooltip="The sheet as one image.")],
        )

    @classmethod
    @in_range()
    def execute(
        cls, rows: list[str], columns: list[str], title: list[str], cell: list[int], images: list[Any]
    ) -> io.NodeOutput:
        check_filled({"images": images, "rows": rows, "columns": columns})
        once = single({"title": title, "cell": cell})
        return io.NodeOutput(make_sheet(images, rows, columns, once["title"], once["cell"]))

"""The contact sheets of a run, drawn from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, overload

from ..compare.axes import PLAIN, Value, Variant, shown
from ..compare.pages import PROMPT, STEP, Sheets, choose
from ..images.opened import open_picture
from ..spec import SampleSpec

if TYPE_CHECKING:
    from PIL import Image

#: File name of a run's contact sheet.
SHEET = "contact_sheet.png"


def axis_values(spec: SampleSpec, steps: Sequence[int], variants: Sequence[Variant]) -> dict[str, list[Any]]:
    """The values of every axis of a sweep, prompts as the items' indices."""
    axes = dict.fromkeys(axis for variant in variants for axis in variant.values)
    further = {axis: list(dict.fromkeys(variant.values[axis] for variant in variants)) for axis in axes}
    return {PROMPT: [item.index for item in spec.items], STEP: list(steps), **further}


def write_sheets(
    paths: Mapping[tuple[str, int, int], Path],
    spec: SampleSpec,
    steps: Sequence[int],
    root: Path,
    name: str = SHEET,
    variants: Sequence[Variant] = (PLAIN,),
    rows: str | None = None,
    columns: str | None = None,
) -> list[Path]:
    """Write the contact sheets of a sweep into `root`, by default one with a row per prompt and a column per step.

    Where there are several, what each is of is put before the suffix of `name`: `contact_sheet_cfg=5.png`.

    Args:
        paths: Image files by variant's key, training step and item index; a cell without one stays empty.
        steps: -1 reads "newest", 0 "no LoRA".
        rows, columns: Axes, see `pages.choose`.

    Raises ImagesError, CompareError.
    """
    values = axis_values(spec, steps, variants)
    sheets = choose({axis: len(of) for axis, of in values.items()}, rows, columns)
    return [_write_sheet(paths, spec, values, sheets, page, root, name) for page in sheets.choices(values)]


def _write_sheet(
    paths: Mapping[tuple[str, int, int], Path], spec: SampleSpec, values: Mapping[str, Sequence[Any]], sheets: Sheets,
    page: Mapping[str, Any], root: Path, name: str,
) -> Path:  # fmt: skip
    from ..images.files import save_image
    from ..images.sheet import contact_sheet

    prompts = {item.index: item.prompt for item in spec.items}
    further = [axis for axis in values if axis not in (PROMPT, STEP)]

    def path(row: Any, column: Any) -> Path | None:
        at = {**page, sheets.rows: row, sheets.columns: column}
        return paths.get((Variant({axis: at[axis] for axis in further}).key, at[STEP], at[PROMPT]))

    def label(axis: str, value: Any) -> str:
        return prompts[value] if axis == PROMPT else column_title(value) if axis == STEP else f"{axis} {shown(value)}"

    down, right = values[sheets.rows], values[sheets.columns]
    pictures = _Pictures([path(row, column) for row in down for column in right])
    of = [label(axis, value) for axis, value in page.items() if axis not in (PROMPT, STEP) or axis in sheets.pages]
    title = ", ".join([f"{spec.name} ({spec.family})", *of])
    labels = [label(sheets.rows, row) for row in down]
    sheet = contact_sheet(
        pictures, labels, [label(sheets.columns, column) for column in right], title, sizes=pictures.sizes
    )
    key = Variant({axis: _in_name(page[axis]) for axis in sheets.pages}).key
    stem, dot, suffix = name.rpartition(".")
    file = f"{stem}_{key}{dot}{suffix}" if key else name
    return save_image(sheet, root, PurePosixPath(file)).path


def _in_name(value: Any) -> Value:
    return "newest" if value == -1 else value


class _Pictures(Sequence["Image.Image | None"]):
    """Image files that are opened when they are drawn; `sizes` are known before."""

    def __init__(self, paths: Sequence[Path | None]) -> None:
        self._paths = paths
        self.sizes = [None if path is None else _size(path) for path in paths]

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, number: int) -> Image.Image | None: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Image.Image | None]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return _Pictures(self._paths[number])
        path = self._paths[number]
        if path is None:
            return None
        return open_picture(path)  # which reads the file, and closes it, when the picture is scaled


def _size(path: Path) -> tuple[int, int]:
    with open_picture(path) as picture:
        return picture.size


def column_title(step: int) -> str:
    """Heading of a training step's column."""
    if step < 0:
        return "newest"
    return f"step {step}" if step else "no LoRA"

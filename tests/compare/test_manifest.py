"""The manifest: what is written is read, whatever kills the writer; what is no line of it is refused by its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.compare.manifest import FILE, ManifestLine, append, read
from comfyui_eridiffusion.errors import CompareError

LINE = ManifestLine("hexa", "kohya", "sd35", 3, 'a "cat"\n🐈', "", 2**63, 1024, 768, 500, "strength=0.8/a/b.png",
                    {"strength": 0.8, "sampler": "euler"}, seconds=1.5)  # fmt: skip
#: A line as another program may write it, by the form in the documents.
FOREIGN: dict[str, Any] = {
    "version": 1, "run": "r", "trainer": "t", "family": "flux", "item": 0, "prompt": "p", "negative_prompt": "",
    "seed": None, "width": 8, "height": 8, "step": None, "file": "a.png", "of_tomorrow": [1],
}  # fmt: skip


def test_what_is_written_is_read_and_later_lines_replace_earlier_ones(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert read(folder) == []
    later = replace(LINE, file="c.png", axes={"sampler": "euler", "strength": 0.8})
    others = [replace(LINE, **change) for change in ({"item": 4}, {"step": None}, {"axes": {}})]  # type: ignore[arg-type]
    append(folder, [LINE, *others])
    append(folder, [])
    append(folder, [later])
    assert read(folder) == [later, *others]
    first = json.loads((folder / FILE).read_bytes().split(b"\n")[0])
    assert first["version"] == 1
    assert first["prompt"] == LINE.prompt


@pytest.mark.parametrize("torn", [b'{"version": 1, "run": "he', b"\xf0\x9f", b"{"])
def test_a_torn_last_line_does_not_count_and_is_cut_off_before_the_next(tmp_path: Path, torn: bytes) -> None:
    append(tmp_path, [LINE])
    with open(tmp_path / FILE, "ab") as stream:
        stream.write(torn)
    assert read(tmp_path)[0] == LINE
    append(tmp_path, [replace(LINE, item=5)])
    assert read(tmp_path) == [LINE, replace(LINE, item=5)]


def test_unknown_fields_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(FOREIGN) + "\n\n", encoding="utf-8")
    assert [(line.step, line.seed, line.axes) for line in read(tmp_path)] == [(None, None, {})]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (b"\xff{}", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[]", "no object with a version"),
        ({"version": True}, "no object with a version"),
        ({"version": 2}, "version 2"),
        ({"prompt": None}, "prompt is null"),
        ({"width": "8"}, 'width is "8"'),
        ({"axes": {"cfg": [1]}}, "axes holds [1]"),
        ({"axes": []}, "axes is []"),
        ({"file": "../other/a.png"}, "not below this folder"),
        ({"file": "/etc/passwd"}, "not below this folder"),
        ({"file": "C:\\a.png"}, "not below this folder"),
        ({"file": ""}, "not below this folder"),
        ("run", "lacks run"),
    ],
)
def test_another_line_is_refused_by_file_and_number(tmp_path: Path, change: Any, words: str) -> None:
    append(tmp_path, [LINE])
    text = change if isinstance(change, bytes) else json.dumps(_changed(change)).encode()
    with open(tmp_path / FILE, "ab") as stream:
        stream.write(text + b"\n")
    append(tmp_path, [replace(LINE, item=9)])
    with pytest.raises(CompareError) as refused:
        read(tmp_path)
    assert words in str(refused.value)
    assert f"{tmp_path / FILE}, line 2" in str(refused.value)


def _changed(change: Any) -> dict[str, Any]:
    if isinstance(change, str):
        return {name: value for name, value in FOREIGN.items() if name != change}
    return {**FOREIGN, **change}


def test_several_programs_append_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from comfyui_eridiffusion.compare.manifest import ManifestLine, append\n"
        "line = ManifestLine('r', 't', 'f', 0, 'p' * 20000, '', None, 8, 8, int(sys.argv[2]), 'a.png')\n"
        "for item in range(30): append(Path(sys.argv[1]), [replace(line, item=item)])"
    )
    many = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(step)]) for step in range(3)]
    assert [one.wait() for one in many] == [0, 0, 0]
    assert {(line.step, line.item) for line in read(tmp_path)} == {(s, i) for s in range(3) for i in range(30)}


@pytest.mark.skipif(not hasattr(os, "geteuid") or not Path("/dev/full").exists(), reason="no such device")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")
    with pytest.raises(CompareError, match=r"manifest\.jsonl: cannot be written"):
        append(tmp_path, [LINE])

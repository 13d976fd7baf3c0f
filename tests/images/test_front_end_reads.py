"""What ComfyUI's own front end finds in our files: its parser, cut out of the installed package and run by Node.

`getWorkflowDataFromFile` is what the front end calls for a file dropped on the canvas.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfyui_eridiffusion.images.files import save_image
from comfyui_eridiffusion.tests.waiting import PATIENCE

NODE = shutil.which("node")
PARTS = ("getFromPngBuffer", "getFromPngFile", "getPngMetadata", "parseExifData", "getWebpMetadata")
ENTRY = "getWorkflowDataFromFile"
RUNNER = """
const u = (f, name) => f;
globalThis.FileReader = class {
  readAsArrayBuffer(file) { queueMicrotask(() => this.onload({target: {result: file.bytes}})); }
};
const fs = require("fs");
(async () => {
  const out = [];
  for (const [path, type] of JSON.parse(process.argv[2])) {
    const read = fs.readFileSync(path);
    const bytes = read.buffer.slice(read.byteOffset, read.byteOffset + read.length);
    out.push((await getWorkflowDataFromFile({name: path, type, bytes})) ?? null);
  }
  console.log(JSON.stringify(out));
})();
"""
WORKFLOW = {"nodes": [{"id": 1, "title": "größer 大"}], "links": []}
PROMPT = {"1": {"class_type": "X", "inputs": {"text": 'a: "b" – größer'}}}


@pytest.fixture(scope="module")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script of the front end's own functions."""
    package = importlib.util.find_spec("comfyui_frontend_package")
    if NODE is None or package is None or package.origin is None:
        pytest.skip("needs Node and comfyui_frontend_package")
    for bundle in sorted((Path(package.origin).parent / "static" / "assets").glob("index-*.js")):
        source = bundle.read_text(encoding="utf-8", errors="replace")
        if f"function {ENTRY}(" in source:
            break
    else:
        pytest.skip("this front end's bundle keeps no function names")
    functions = [cut_out(source, name) for name in (*PARTS, ENTRY)]
    script = tmp_path_factory.mktemp("front_end") / "parse.js"
    script.write_text("\n".join([*functions, RUNNER]), encoding="utf-8")
    return script


def cut_out(source: str, name: str) -> str:
    """A top-level function of the bundle: up to the call that names it."""
    start, end = source.index(f"function {name}("), source.index(f'u({name},"{name}")')
    return ("async " if source[:start].endswith("async ") else "") + source[start:end]


def read(script: Path, files: list[tuple[Path, str]]) -> list[Any]:
    assert NODE is not None
    arguments = json.dumps([(str(path), kind) for path, kind in files])
    done = subprocess.run([NODE, str(script), arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def noise(channels: int, height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def test_png_and_webp_restore_the_canvas(front_end: Path, tmp_path: Path) -> None:
    texts = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW), "eridiffusion": json.dumps({"step": 3})}
    files = []
    for number, (channels, height, width) in enumerate(
        (c, h, w) for c in (1, 3, 4) for h, w in ((16, 9), (33, 40), (7, 5))
    ):
        for suffix, kind in (("png", "image/png"), ("webp", "image/webp")):
            name = PurePosixPath(f"{number}.{suffix}")
            saved = save_image(noise(channels, height, width), tmp_path, name, metadata=texts)
            files.append((saved.path, kind))
    odd = [path for path, _ in files if path.suffix == ".webp" and path.read_bytes().find(b"ALPH") > 30]
    assert odd, "no file has its EXIF before the transparency: nothing tests that it has to be"
    for (path, _), found in zip(files, read(front_end, files), strict=True):
        assert json.loads(found["workflow"]) == WORKFLOW, path
        assert json.loads(found["prompt"]) == PROMPT, path
        with Image.open(path) as picture:
            picture.load()


def test_pillow_alone_loses_the_workflow_of_transparent_webp(front_end: Path, tmp_path: Path) -> None:
    """Why the EXIF chunk is moved; when this fails, the front end has learned to pad and the move can go."""
    exif = Image.Exif()
    exif[0x010F] = "workflow:" + json.dumps(WORKFLOW)
    lost = []
    for height in range(5, 25):
        path = tmp_path / f"{height}.webp"
        noise(4, height, 9).save(path, exif=exif, quality=95)
        lost.append((path, "image/webp"))
    assert any("workflow" not in found for found in read(front_end, lost))


def test_the_front_end_reads_no_jpeg(front_end: Path, tmp_path: Path) -> None:
    """Documented as such; when this fails, say in the docs that a JPEG restores the canvas too."""
    saved = save_image(noise(3, 8, 8), tmp_path, PurePosixPath("x.jpg"), metadata={"workflow": json.dumps(WORKFLOW)})
    assert read(front_end, [(saved.path, "image/jpeg")]) == [None]

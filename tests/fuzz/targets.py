"""What reads what others wrote, each as a function of bytes, with good inputs to begin from.

`read` of a target returns whether it took the input as good; an input that is refused raises an EriError. Whatever else
is raised is a fault. tests/fuzz/run.py makes inputs, tests/fuzz/test_corpus.py reads those that once were faults.
"""

from __future__ import annotations

import atexit
import io
import json
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from comfyui_eridiffusion.compare import manifest, votes
from comfyui_eridiffusion.dev.host_install import ROOT
from comfyui_eridiffusion.images import inner_texts, serenity_board
from comfyui_eridiffusion.lora import read_lora, to_host_keys
from comfyui_eridiffusion.spec import SampleSpec, read_text
from comfyui_eridiffusion.spec.readers import from_json
from comfyui_eridiffusion.tests.spec.forms import FORMS
from comfyui_eridiffusion.workflows import models, requests, run_memory
from comfyui_eridiffusion.workflows.graph import Graph

#: A config's first byte chooses the ending of its name and whether a family is given; the others are its text.
SUFFIXES: Final = (
    *("", ".yaml", ".json", ".toml", ".txt", ".sh", ".bat", ".ps1", ".ipynb", ".py", ".env"),
    *tuple({form.suffix for form in FORMS.values()} - {".yaml", ".json", ".toml", ".txt", ".sh", ".bat", ".ps1"}),
)
#: What configs name beside themselves.
FILES: Final = {name: text for form in FORMS.values() for name, text in form.arguments().get("files", {}).items()}
#: Most bytes of the tensors in a file made from a header, and of a header to begin from.
MAX_TENSORS: Final = 1 << 20
MAX_HEADER: Final = 1 << 14


@dataclass(frozen=True)
class Target:
    """One reader. share: its part of a run's inputs. text: whether its inputs are words, which are changed as such."""

    name: str
    share: float
    read: Callable[[bytes], bool]
    seeds: Callable[[], Iterator[bytes]]
    text: bool = True


@lru_cache(maxsize=1)
def folder() -> Path:
    """A folder for readers that open files; it is removed with the process."""
    made = Path(tempfile.mkdtemp(prefix="eri-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def written(name: str, data: bytes) -> Path:
    """The file of that name in the folder, with this content."""
    path = folder() / name
    path.write_bytes(data)
    return path


# --- configs ----------------------------------------------------------------------------------------------------------


def read_config(data: bytes) -> bool:
    """A good config is the same when its native form is read."""
    head, text = data[0] if data else 0, data[1:].decode("utf-8", "replace")
    suffix, family = SUFFIXES[head % 32 % len(SUFFIXES)], "flux" if head & 32 else None
    spec = read_text(text, family=family, source=f"config{suffix}" if suffix else "text", files=FILES)
    again = from_json(spec.to_json())
    if again.items != spec.items:
        raise AssertionError("the native form says other samples")
    return True


def config_seeds() -> Iterator[bytes]:
    for form in FORMS.values():
        yield bytes([SUFFIXES.index(form.suffix) + 32 * bool(form.options)]) + form.text().encode()
    for path in sorted((ROOT / "examples" / "configs").glob("*.yaml")):
        yield bytes([SUFFIXES.index(path.suffix)]) + path.read_bytes()


# --- LoRA files -------------------------------------------------------------------------------------------------------


def read_lora_header(data: bytes) -> bool:
    """A file with this header and as many zeros as it speaks of; a header that is no JSON stands for the whole file."""
    try:
        header = json.loads(data)
        ends = [entry["data_offsets"][1] for entry in header.values() if "data_offsets" in entry]
        size = min(MAX_TENSORS, max(0, *ends, 0))
        data = struct.pack("<Q", len(data)) + data + bytes(size)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        pass
    to_host_keys(read_lora(written("lora.safetensors", data)))
    return True


def lora_seeds() -> Iterator[bytes]:
    """Headers of every dialect; of the large ones those with few modules do."""
    from comfyui_eridiffusion.tests.lora.dialect_files import CASES

    for case in CASES:
        path, _ = case.write(Path(tempfile.mkdtemp(dir=folder())))
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        if length < MAX_HEADER and "optimizer" not in case.variant:
            yield json.dumps(header, separators=(",", ":")).encode()


# --- requests and messages --------------------------------------------------------------------------------------------

#: A kind's place is a byte of inputs that were kept: further ones come last.
_KINDS: Final = (
    requests.GraphRequest, requests.QueueRequest, requests.ConfigOfRun, requests.MarkRequest, requests.NoteRequest,
    requests.SweepRequest, requests.VoteRequest,
)  # fmt: skip


def read_body(data: bytes) -> bool:
    """The body of a request, whose kind its first byte chooses; a graph that is asked for is made."""
    request = requests.read_request(_KINDS[data[0] % len(_KINDS)] if data else _KINDS[0], data[1:])
    if isinstance(request, requests.GraphRequest):
        graph = requests.graph_for(request, request.run, None, {})
        json.dumps(graph.api())
    elif isinstance(request, requests.ConfigOfRun) and request.config is not None:
        requests.spec_of(request.config, request)
    return True


def body_seeds() -> Iterator[bytes]:
    for form in FORMS.values():
        document: dict[str, Any] = {"config": form.text(), "source": f"a{form.suffix}"}
        document |= {key: value for key, value in form.arguments().items() if key in ("files", "family", "trainer")}
        queued = {"run": "r", "step": 5, "front": True, "items": "0", "axes": {"strength": "0.5"}}
        for kind, more in ((0, {"style": "stock"}), (1, queued), (2, {})):
            yield bytes([kind]) + json.dumps({**document, **more}).encode()
    sides = {"left": {"step": 5}, "right": {"step": None, "axes": {"strength": 0.5}}}
    vote = {"version": 1, "run": "r", "voter": "v", "made": "2026-01-01", "item": 0, "seed": 1, "vote": "left"}
    others = [
        {"step": 500, "item": 0, "mark": "favourite"}, {"step": 500, "item": 0, "note": "a"},
        {"steps": "250, 500-", "axes": {"strength": "0.6, 1", "sampler": "ddim"}}, {**vote, **sides},
    ]  # fmt: skip
    for kind, body in enumerate(others, 3):
        yield bytes([kind]) + json.dumps(body).encode()


def read_message(data: bytes) -> bool:
    """What ComfyUI's WebSocket sends: a first byte of 0 means text."""
    from comfyui_eridiffusion.client.event_socket import EventSocket
    from comfyui_eridiffusion.protocol.events import from_frame

    if data[:1] != b"\0":
        return from_frame(data[1:]) is not None
    socket = EventSocket.__new__(EventSocket)
    seen: list[object] = []
    vars(socket).update(_url="ComfyUI", _shown={}, _queues={}, _dispatch=seen.append)
    socket._dispatch_text(data[1:].decode("utf-8", "replace"))
    return bool(seen)


def message_seeds() -> Iterator[bytes]:
    about = {"prompt_id": "p", "node": "save", "display_node": "save"}
    image = {"filename": "a.png", "subfolder": "s", "type": "output"}
    output = {"images": [image], "pictures": [0], "pictures_of": [2], "prompt_files": [image]}
    error = {"node_id": "1", "node_type": "N", "exception_message": "m", "exception_type": "E", "traceback": ["t"]}
    for kind, data in {
        "execution_start": about, "execution_cached": {**about, "nodes": ["a"]}, "executing": about,
        "progress": {**about, "value": 3, "max": 20}, "executed": {**about, "output": output},
        "execution_success": about, "execution_interrupted": {**about, "node_id": "1"},
        "execution_error": {**about, **error},
    }.items():  # fmt: skip
        yield b"\0" + json.dumps({"type": kind, "data": data}).encode()
    yield b"\1" + struct.pack(">II", 1, 2) + b"image"
    told = json.dumps({"node_id": "1", "prompt_id": "p", "image_type": "image/png"}).encode()
    yield b"\1" + struct.pack(">II", 4, len(told)) + told + b"image"


# --- files beside models, files of a run ------------------------------------------------------------------------------


def read_description(data: bytes) -> bool:
    """A description beside a model's file, and the loaders that it asks for."""
    description = models.read_description(written("description.yaml", data))
    models.read_models(description, SampleSpec("flux", "native", []))
    models.add_loaders(Graph(), description, "flux")
    return True


def description_seeds() -> Iterator[bytes]:
    yield (ROOT / "examples" / "models" / "flux.yaml").read_bytes()
    yield b"family: flux\nfiles: {unet: a.safetensors, clip_l: b, t5xxl: c, vae: d}\n"
    yield b"loaders: {model: &a {class_type: L, inputs: {a: 1, b: 0.5, c: true}}, clip: *a, vae: {class_type: V}}"


def read_board(data: bytes) -> bool:
    written(serenity_board.DATABASE, data)
    return bool(serenity_board.board_images(folder()))


def board_seeds() -> Iterator[bytes]:
    """Without the tables that stay empty: a board with all of them is larger than inputs are."""
    path = written(serenity_board.DATABASE, b"")
    with closing(sqlite3.connect(path)) as board, board:
        board.executescript("PRAGMA page_size = 512; CREATE TABLE text_events (tag, step, value);")
        board.execute("CREATE TABLE artifacts (tag, step, wall_time, kind, blob_key, meta)")
        board.execute("INSERT INTO text_events VALUES ('prompts/p1', 5, 'a')")
        board.execute("INSERT INTO artifacts VALUES ('samples/p1', 5, 1.0, 'image', 'a.png', '{}')")
    yield path.read_bytes()


def read_manifest(data: bytes) -> bool:
    written(manifest.FILE, data)
    return bool(manifest.read(folder()))


def manifest_seeds() -> Iterator[bytes]:
    line = manifest.ManifestLine(
        run="r", trainer="kohya", family="flux", item=0, prompt="a", negative_prompt="", seed=1, width=64, height=64,
        step=5, file="a/b.png",
    )  # fmt: skip
    lines = [line, replace(line, axes={"strength": 0.8, "run": "x"}, step=None), replace(line, seconds=1.5, made="t")]
    yield b"".join(json.dumps(manifest.as_json(one)).encode() + b"\n" for one in lines)


def read_votes(data: bytes) -> bool:
    return bool(votes.read_votes(written("votes.jsonl", data)))


def votes_seeds() -> Iterator[bytes]:
    sides = {"left": {"step": 5, "axes": {}}, "right": {"step": None, "axes": {"strength": 0.5}}}
    line = {"version": 1, "run": "r", "voter": "v", "item": 0, "seed": 1, **sides}
    lines = [{**line, "made": f"2026-01-0{day}", "vote": vote} for day, vote in enumerate(("left", "tie", None), 1)]
    yield b"".join(json.dumps(one).encode() + b"\n" for one in lines)


def read_memory(data: bytes) -> bool:
    return run_memory.read_memory(written(run_memory.FILE, data)) != run_memory.RunMemory()


def memory_seeds() -> Iterator[bytes]:
    marks = [{"step": 500, "item": 0, "mark": "favourite"}, {"step": 0, "item": 1, "mark": "reject"}]
    notes = [{"step": 500, "item": 0, "note": "a"}]
    yield json.dumps({"version": 1, "config": {"file": "a.yaml"}, "marks": marks, "notes": notes}).encode()
    yield json.dumps({"version": 1, "config": {"source": "a", "spec": {"eri_spec": 1}}, "marks": []}).encode()


def read_picture(data: bytes) -> bool:
    """The texts in a picture, and the record in them."""
    texts = inner_texts.read_texts(written("picture", data))
    return bool(inner_texts.parsed(texts.get(inner_texts.KEY)))


def picture_seeds() -> Iterator[bytes]:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    record = json.dumps({"step": 5, "index": 0, "prompt": "a"})
    picture, info, exif = Image.new("RGB", (4, 4)), PngInfo(), Image.Exif()
    info.add_text("eridiffusion", record)
    info.add_text("prompt", "{}", zip=True)
    info.add_itxt("workflow", "{}", zip=True)
    exif[0x010E] = f"eridiffusion:{record}"
    for kind, options in (("PNG", {"pnginfo": info}), ("JPEG", {"exif": exif}), ("WEBP", {"exif": exif})):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        yield file.getvalue()


TARGETS: Final = (
    Target("config", 0.08, read_config, config_seeds),
    Target("lora", 0.05, read_lora_header, lora_seeds),
    Target("body", 0.07, read_body, body_seeds),
    Target("message", 0.2, read_message, message_seeds),
    Target("manifest", 0.2, read_manifest, manifest_seeds),
    Target("votes", 0.1, read_votes, votes_seeds),
    Target("memory", 0.1, read_memory, memory_seeds),
    Target("picture", 0.1, read_picture, picture_seeds, text=False),
    Target("description", 0.05, read_description, description_seeds),
    Target("board", 0.05, read_board, board_seeds, text=False),
)
CORPUS: Final = Path(__file__).with_name("corpus")


def by_name(name: str) -> Target:
    return next(target for target in TARGETS if target.name == name)



"""SerenityBoard's run folder: `board.db` (SQLite) and the pictures in `blobs/`, in the form of its fourth schema.

EriTrainer and OneTrainer's fork write one for each run, and SerenityBoard shows every folder that holds one.
Sources: CodeAlexx/SerenityBoard@048eac9 serenityboard/writer/schema.py (tables), writer/blob_storage.py L26-38 (names
of blobs), writer/session_guard.py L31-47, L165-185 (session); CodeAlexx/EriTrainer@c2c7ac9
backend/EriDiffusion-v2/crates/eridiffusion-core/src/training/board.rs (the same in Rust, tags in bin/train_sd35.rs).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import ImagesError
from ..whole_files import write_whole

if TYPE_CHECKING:
    from sqlite3 import Connection

DATABASE: Final = "board.db"
BLOBS: Final = "blobs"
#: What `meta` of an artifact says of a picture that `eri watch` wrote, so that nobody takes it for the trainer's own.
MADE_BY: Final = {"made_by": "comfyui-eridiffusion"}
_SESSION: Final = "eri-watch"
#: How pictures are called in BLOBS: a hash and an ending.
_BLOB: Final = re.compile(r"[\w.-]{1,128}", re.ASCII)
_LONGEST_TAG: Final = 255
#: Joined in Python: a board without SerenityBoard's keys would be searched for each picture.
_TEXTS: Final = "SELECT tag, step, value FROM text_events LIMIT 200000"
_IMAGES: Final = (
    "SELECT tag, step, blob_key FROM artifacts WHERE kind = 'image' AND meta NOT LIKE ?"
    " ORDER BY wall_time DESC LIMIT 200000"
)
_SECONDS: Final = 30.0  # for which a table that the trainer is writing is waited for
_AT: Final = "tag TEXT NOT NULL, step INTEGER NOT NULL"
_WHEN: Final = "wall_time REAL NOT NULL"
_NTH: Final = "seq_index INTEGER NOT NULL DEFAULT 0"
#: table -> its columns, its key ("" = named among the columns). SerenityBoard asks for the tables that stay empty, too.
_TABLES: Final = {
    "metadata": ("key TEXT PRIMARY KEY, value TEXT NOT NULL", ""),
    "sessions": (
        "session_id TEXT NOT NULL, start_time REAL NOT NULL, resume_step INTEGER,"
        " status TEXT NOT NULL CHECK(status IN ('running','complete','crashed'))",
        "session_id",
    ),
    "scalars": (f"{_AT}, {_WHEN}, value REAL NOT NULL", "tag, step"),
    "tensors": (f"{_AT}, {_WHEN}, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL", "tag, step"),
    "artifacts": (
        f"{_AT}, {_NTH}, {_WHEN}, kind TEXT NOT NULL, mime_type TEXT NOT NULL, blob_key TEXT NOT NULL,"
        " width INTEGER, height INTEGER, meta TEXT NOT NULL DEFAULT '{}'",
        "tag, step, seq_index",
    ),
    "text_events": (f"{_AT}, {_WHEN}, value TEXT NOT NULL", "tag, step"),
    "trace_events": (
        f"step INTEGER NOT NULL, {_WHEN}, phase TEXT NOT NULL, duration_ms REAL NOT NULL,"
        " details TEXT NOT NULL DEFAULT '{}'",
        "step, phase",
    ),
    "eval_results": (
        f"suite_name TEXT NOT NULL, case_id TEXT NOT NULL, step INTEGER NOT NULL, {_WHEN}, score_name TEXT NOT NULL,"
        " score_value REAL NOT NULL, artifact_key TEXT, details TEXT NOT NULL DEFAULT '{}'",
        "suite_name, case_id, step, score_name",
    ),
    "hparam_metrics": ("metric_tag TEXT NOT NULL, value REAL NOT NULL, step INTEGER, wall_time REAL", "metric_tag"),
    "plugin_data": (f"plugin_name TEXT NOT NULL, {_AT}, {_WHEN}, data TEXT NOT NULL", "plugin_name, tag, step"),
    "custom_scalar_layouts": ("layout_name TEXT NOT NULL, config TEXT NOT NULL", "layout_name"),
    "pr_curves": (
        f"{_AT}, class_index INTEGER NOT NULL DEFAULT 0, {_WHEN}, num_thresholds INTEGER NOT NULL, data BLOB NOT NULL",
        "tag, step, class_index",
    ),
    "audio": (
        f"{_AT}, {_NTH}, {_WHEN}, blob_key TEXT NOT NULL, sample_rate INTEGER NOT NULL,"
        " num_channels INTEGER NOT NULL DEFAULT 1, duration_ms REAL, mime_type TEXT NOT NULL DEFAULT 'audio/wav',"
        " label TEXT NOT NULL DEFAULT ''",
        "tag, step, seq_index",
    ),
    "graphs": (f"{_AT}, {_WHEN}, graph_blob_key TEXT NOT NULL", "tag, step"),
    "embeddings": (
        f"{_AT}, {_WHEN}, num_points INTEGER NOT NULL, dimensions INTEGER NOT NULL, tensor_blob_key TEXT NOT NULL,"
        " metadata_json TEXT, metadata_header TEXT, sprite_blob_key TEXT, sprite_single_h INTEGER,"
        " sprite_single_w INTEGER",
        "tag, step",
    ),
    "meshes": (
        f"{_AT}, {_WHEN}, num_vertices INTEGER NOT NULL, has_faces INTEGER NOT NULL DEFAULT 0,"
        " has_colors INTEGER NOT NULL DEFAULT 0, num_faces INTEGER NOT NULL DEFAULT 0,"
        " vertices_blob_key TEXT NOT NULL, faces_blob_key TEXT, colors_blob_key TEXT, config_json TEXT",
        "tag, step",
    ),
}


@contextmanager
def opened_board(folder: Path) -> Iterator[Connection]:
    """The board of a run folder, made where there is none; what was written is kept together when the block ends.

    Raises ImagesError where it cannot be written, or holds the tables of SerenityBoard's first schema.
    """
    import sqlite3

    database = folder / DATABASE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=_SECONDS)) as board, board:
            if board.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name='blobs'").fetchone():
                raise ImagesError(
                    "the board has the tables of SerenityBoard's first schema",
                    place=str(database),
                    remedy="Let SerenityBoard's own writer open it once, or name another folder.",
                )
            board.execute("PRAGMA journal_mode = WAL")
            for table, (columns, key) in _TABLES.items():
                kept = f", PRIMARY KEY ({key})) WITHOUT ROWID" if key else ")"
                board.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}{kept}")
            yield board
    except (sqlite3.Error, OSError) as error:
        raise ImagesError(
            f"the board cannot be written: {error}", place=str(database), remedy="Name another folder, or free it."
        ) from error


def set_status(board: Connection, run: str, status: str) -> None:
    """Say "running" or "complete" of a run, unless a trainer writes this board: then the run's state is the trainer's.

    Args:
        run: The name that SerenityBoard shows.
    """
    active = board.execute("SELECT value FROM metadata WHERE key = 'active_session_id'").fetchone()
    if active is not None and json.loads(active[0]) != _SESSION:
        return
    now = time.time()
    board.execute(
        "INSERT INTO sessions (session_id, start_time, resume_step, status) VALUES (?, ?, NULL, ?)"
        " ON CONFLICT (session_id) DO UPDATE SET status = excluded.status",
        (_SESSION, now, status),
    )
    said: dict[str, str | float] = {"active_session_id": _SESSION, "status": status, "run_name": run}
    if active is None:
        said |= {"start_time": now, "schema_version": "2"}
    board.executemany(
        "INSERT OR REPLACE INTO metadata (key, value) VALUES (?, ?)",
        [(key, json.dumps(value)) for key, value in said.items()],
    )


def add_image(board: Connection, folder: Path, tag: str, step: int, png: bytes, width: int, height: int) -> None:
    """Put a picture under a tag and training step, in the place of one that is there.

    Args:
        folder: The board's folder.
        png: The file's content.
        width, height: In pixels.
    """
    key = f"{hashlib.sha256(png).hexdigest()[:16]}.png"
    blob = folder / BLOBS / key
    blob.parent.mkdir(exist_ok=True)
    if not blob.exists():
        write_whole(blob, png)
    board.execute(
        "INSERT OR REPLACE INTO artifacts (tag, step, wall_time, kind, mime_type, blob_key, width, height, meta)"
        " VALUES (?, ?, ?, 'image', 'image/png', ?, ?, ?, ?)",
        (tag, step, time.time(), key, width, height, json.dumps(MADE_BY)),
    )


def add_text(board: Connection, tag: str, step: int, text: str) -> None:
    """Put a text under a tag and training step, in the place of one that is there."""
    board.execute(
        "INSERT OR REPLACE INTO text_events (tag, step, wall_time, value) VALUES (?, ?, ?, ?)",
        (tag, step, time.time(), text),
    )


def add_number(board: Connection, tag: str, step: int, value: float) -> None:
    """Put a number under a tag and training step, in the place of one that is there."""
    board.execute(
        "INSERT OR REPLACE INTO scalars (tag, step, wall_time, value) VALUES (?, ?, ?, ?)",
        (tag, step, time.time(), value),
    )


class BoardImage(NamedTuple):
    """A picture on a board: its tag, training step and file, and the text under its tag in `prompts/`, if any."""

    tag: str
    step: int
    path: Path
    prompt: str | None


def board_images(folder: Path) -> list[BoardImage]:
    """The trainer's own pictures on the board of a run folder, the newest first; [] where there is no board.

    Pictures that `eri watch` put there are left out, and rows that hold what no trainer writes. Raises ImagesError
    where the board cannot be read.
    """
    import sqlite3

    database = folder / DATABASE
    if not database.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=_SECONDS)) as board:
            said = {(tag, step): text for tag, step, text in _rows(board, "text_events", _TEXTS)}
            shown = _rows(board, "artifacts", _IMAGES, f"%{MADE_BY['made_by']}%")
    # of a damaged file SQLite may name a column in bytes that are no text, or take its lengths for a lack of memory
    except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
        remedy = "Open it with SerenityBoard, or leave it out: name the folder of the files."
        raise ImagesError(f"the board cannot be read: {error}", place=str(database), remedy=remedy) from error
    found = []
    for tag, step, key in shown:
        if not (isinstance(tag, str) and len(tag) <= _LONGEST_TAG and type(step) is int and isinstance(key, str)):
            continue
        prompt = said.get((tag.replace("samples/", "prompts/"), step))
        if _BLOB.fullmatch(key.rpartition("/")[2]) and isinstance(prompt, str | None):
            found.append(BoardImage(tag, step, folder / BLOBS / key.rpartition("/")[2], prompt))
    return found


def _rows(board: Connection, table: str, ask: str, *given: str) -> list[Any]:
    """Rows of a table that holds what it says; of a view, or of a column that is computed, SQLite might never end."""
    from sqlite3 import OperationalError

    stored = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = ?"
    computed = "SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden"
    if not board.execute(stored, (table,)).fetchone() or board.execute(computed, (table,)).fetchone():
        raise OperationalError(f"{table} is no table as SerenityBoard makes it")
    return board.execute(ask, given).fetchall()

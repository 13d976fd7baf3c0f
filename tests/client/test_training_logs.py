"""What the log viewers need before the first image (the package, a login, one run over restarts); SerenityBoard's form.

W&B's server takes no part: no login is a case of its own here, everything else is written offline.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.training_logs import SerenityBoardLog, TensorBoardLog, WandbLog
from comfyui_eridiffusion.errors import HostError, ImagesError
from comfyui_eridiffusion.tests.waiting import PATIENCE

OPEN = """
import sys
from pathlib import Path
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.client.training_logs import WandbLog
for name in sys.argv[1:]:
    try:
        WandbLog("eri_test", name, Path("runs") / name).close()
    except HostError as error:
        print(error)
"""


def opened(folder: Path, *names: str, **environment: str) -> str:
    """Open and close logs of these runs, as nobody whom W&B knows; what is printed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    home = {"HOME": str(folder), "USERPROFILE": str(folder), "NETRC": str(folder / "none"), "WANDB_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *names], cwd=folder, env={**kept, **home, **environment}, check=True,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.stdout


def test_without_a_login_the_remedy_is_said(tmp_path: Path) -> None:
    said = opened(tmp_path, "zorp", WANDB_MODE="online")
    assert "did not open the project 'eri_test'" in said
    assert "wandb login" in said
    assert "WANDB_MODE=offline" in said


def test_a_restart_goes_on_in_the_same_run(tmp_path: Path) -> None:
    """W&B joins what has one id; offline a run's file is named by it, whatever its folder is called."""
    assert opened(tmp_path, "zorp", "other", "zorp", WANDB_MODE="offline") == ""
    assert len({path.name for path in tmp_path.rglob("run-*.wandb")}) == 2


@pytest.mark.parametrize(("package", "option"), [("wandb", "--wandb"), ("tensorboard", "--tensorboard")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, option: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    opening: Any = {"wandb": lambda: WandbLog("p", "r", tmp_path), "tensorboard": lambda: TensorBoardLog(tmp_path)}
    with pytest.raises(HostError, match=f"{option} needs the package {package}") as caught:
        opening[package]()
    assert f"pip install {package}" in str(caught.value)


#: table -> name, type, not null, place in the key of each column: what `create_tables` of
#: CodeAlexx/SerenityBoard@048eac9 (serenityboard/writer/schema.py) makes, by SQLite's own `PRAGMA table_info`.
SCHEMA = Path(__file__).parent / "data" / "serenityboard_schema.json"
#: What its server asks for, serenityboard/server/data_provider.py L375-378, L890-894, L899-905.
IMAGES = "SELECT step, blob_key, width, height FROM artifacts WHERE tag = ? AND kind = 'image' ORDER BY step"
TEXTS = "SELECT step, value FROM text_events WHERE tag = ? ORDER BY step"


def asked(folder: Path, question: str, *values: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{folder / 'board.db'}?mode=ro", uri=True)) as board:
        return board.execute(question, values).fetchall()


def test_serenity_board_reads_what_was_logged(tmp_path: Path) -> None:
    """Its tables, its names of blobs (16 hexadecimal digits: server/routes/images.py L14), and its state of the run."""
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    Image.new("RGB", (4, 2), "blue").save(tmp_path / "sheet.png")
    run = tmp_path / "run"
    log = SerenityBoardLog(run, "zorp")
    for step in (100, 50, 100):
        log.step(step, {"02": tmp_path / "a.png"}, {"02": "a zorp"}, tmp_path / "sheet.png")
    assert asked(run, "SELECT value FROM metadata WHERE key = 'status'") == [('"running"',)]
    log.close()
    tables = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for table, columns in tables.items():
        made = asked(run, f"PRAGMA table_info({table})")
        assert [[name, kind, needed, key] for _, name, kind, needed, _, key in made] == columns, table
    shown = asked(run, IMAGES, "samples/02")
    assert [(step, *size) for step, _, *size in shown] == [(50, 8, 6), (100, 8, 6)]
    with Image.open(run / "blobs" / shown[0][1]) as kept, Image.open(tmp_path / "a.png") as given:
        assert kept.tobytes() == given.tobytes()
    assert asked(run, TEXTS, "prompts/02") == [(50, "a zorp"), (100, "a zorp")]
    assert [step for step, *_ in asked(run, IMAGES, "contact_sheet")] == [50, 100]
    assert sorted(len(path.name) for path in (run / "blobs").iterdir()) == [20, 20]
    assert asked(run, "SELECT status FROM sessions") == [("complete",)]


def test_a_trainers_board_stays_its_own(tmp_path: Path) -> None:
    """As EriTrainer opens one (training/board.rs L190-220): its session is the active one, before and after."""
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    SerenityBoardLog(tmp_path, "zorp").close()
    with closing(sqlite3.connect(tmp_path / "board.db")) as board, board:
        board.execute("DELETE FROM sessions")
        board.execute("INSERT INTO sessions VALUES ('run_1f', 1.5, NULL, 'running')")
        for key, value in (("active_session_id", '"run_1f"'), ("status", '"running"'), ("name", '"theirs"')):
            board.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?)", (key, value))
        before = board.execute("SELECT * FROM metadata ORDER BY key").fetchall()
    log = SerenityBoardLog(tmp_path, "zorp")
    log.step(7, {"00": tmp_path / "a.png"}, {}, tmp_path / "a.png")
    log.close()
    assert asked(tmp_path, "SELECT * FROM metadata ORDER BY key") == before
    assert asked(tmp_path, "SELECT session_id, status FROM sessions") == [("run_1f", "running")]
    assert [step for step, *_ in asked(tmp_path, IMAGES, "samples/00")] == [7]


@pytest.mark.parametrize("damage", ["no database", "first schema", "folder"])
def test_a_board_that_cannot_be_written_is_named(tmp_path: Path, damage: str) -> None:
    place = tmp_path / "board.db"
    if damage == "no database":
        place.write_bytes(b"not a database at all" * 99)
    elif damage == "folder":
        place.mkdir()
    else:
        with closing(sqlite3.connect(place)) as board, board:
            board.execute("CREATE TABLE blobs (tag TEXT)")
    with pytest.raises(ImagesError, match=r"board\.db: .* Let SerenityBoard|board\.db: .* Name another folder"):
        SerenityBoardLog(tmp_path, "zorp")

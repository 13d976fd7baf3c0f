"""What the scripts say: every message exists in every language, and none is left over. No browser needed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "web" / "js", ROOT / "gallery" / "web")
SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for folder in FOLDERS for path in sorted(folder.glob("*.js")))
LANGUAGES = sorted(path.name for path in (ROOT / "locales").iterdir())


def locale(language: str, name: str) -> dict[str, dict[str, str]]:
    text = (ROOT / "locales" / language / f"{name}.json").read_text(encoding="utf-8")
    document: dict[str, dict[str, str]] = json.loads(text)
    return document


def places(message: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", message))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_the_english_messages_and_values(language: str) -> None:
    english, theirs = locale("en", "main")["eridiffusion"], locale(language, "main")["eridiffusion"]
    assert set(theirs) == set(english)
    assert {key: places(message) for key, message in theirs.items()} == {
        key: places(message) for key, message in english.items()
    }
    assert all(message.strip() for message in theirs.values())


def test_the_scripts_use_every_message_and_no_other() -> None:
    # text("key"), text(sample ? "one" : "other"), and label(target, "key") and pair("key", target), which hand it on
    used = set(re.findall(r'\b(?:text|label|pair)\((?:[^"()]*\? )?(?:this\.\w+, )?"(\w+)"', SCRIPTS))
    used |= set(re.findall(r'\btext\([^"()]*\? "\w+" : "(\w+)"', SCRIPTS))
    assert used == set(locale("en", "main")["eridiffusion"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_commands_are_those_that_the_scripts_register(language: str) -> None:
    registered = set(re.findall(r'\bid: "(eridiffusion\.\w+)"', SCRIPTS))
    tabs = re.findall(r'const ID = "([\w-]+)"', SCRIPTS)
    # as the front end spells the name of a command in its translations
    wanted = {name.replace(".", "_") for name in registered} | {f"Workspace_ToggleSidebarTab_{tab}" for tab in tabs}
    found = locale(language, "commands")
    assert set(found) == wanted
    assert all(entry["label"] for entry in found.values())
    assert found["eridiffusion_OpenTrainingConfig"]["label"] == locale(language, "main")["eridiffusion"]["open_config"]

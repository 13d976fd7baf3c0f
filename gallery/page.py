"""The page of a gallery: the pack's own scripts and styles joined into one file, with what it shows.

Browsers load no modules from files, so the modules are put together here: each becomes a function whose result are its
exports. The page may run exactly this script, and ask for nothing but pictures beside it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parents[1]
_START: Final = _ROOT / "gallery" / "web" / "start.js"
_STYLES: Final = (
    _ROOT / "web" / "js" / "grid.css",
    _ROOT / "web" / "js" / "viewer.css",
    _ROOT / "web" / "js" / "blind.css",
    _ROOT / "gallery" / "web" / "gallery.css",
)
_IMPORT: Final = re.compile(r'import \{ ([\w, ]+) \} from "(\.{1,2}/[\w./]+\.js)";')
_EXPORT: Final = re.compile(r"export (?=(?:async )?(?:function|class|const) (\w+))")
#: What the page may do; a server allows it to talk to itself (see `served`).
_POLICY: Final = "default-src 'none'; img-src 'self'; base-uri 'none'; form-action 'none'; connect-src"
_ALONE, _SERVED = f"{_POLICY} 'none'", f"{_POLICY} 'self'"
_NO_TOKEN, _TOKEN = '<meta name="eridiffusion-token" content="">', '<meta name="eridiffusion-token" content="{}">'


def page(data: Mapping[str, Any], title: str) -> bytes:
    """The page that shows `data`, which is as `gallery/web/source.js` takes it, less the texts."""
    script, style = f'"use strict";\n{joined(_START)}', "".join(path.read_text(encoding="utf-8") for path in _STYLES)
    policy = f"{_ALONE}; script-src {_hash(script)}; style-src {_hash(style)}"
    shown = json.dumps({**data, "texts": texts(script)}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    shown = shown.replace("<", "\\u003c")  # no text can end the element that holds it
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
{_NO_TOKEN}
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<noscript>{html.escape(title)}: this page needs JavaScript. The pictures lie in the folder beside it.</noscript>
<script type="application/json" id="data">{shown}</script>
<script>{script}</script>
</body>
</html>
"""
    return text.encode("utf-8", "backslashreplace")


def served(text: bytes, token: str) -> bytes:
    """The page as a server sends it: it may ask that server, and say the token that lets it write there."""
    for old, new in ((_ALONE, _SERVED), (_NO_TOKEN, _TOKEN.format(html.escape(token)))):
        text = text.replace(old.encode(), new.encode(), 1)
    return text


def policy_of(text: bytes) -> str:
    """The policy that a page states, for a server that sends it as a header as well."""
    found = re.search(rb'Content-Security-Policy" content="([^"]+)"', text)
    return found[1].decode() if found else _ALONE


def joined(start: Path) -> str:
    """A module and all that it imports as one script, which calls the `start()` that it exports."""
    done: dict[Path, str] = {}

    def add(path: Path) -> None:
        path = path.resolve()
        if path in done:
            return
        done[path] = ""
        text = path.read_text(encoding="utf-8")
        for _, name in _IMPORT.findall(text):
            add(path.parent / name)
        del done[path]  # after what it imports
        done[path] = _function(path, text)

    add(start)
    script = "".join(done.values()) + f"{_name(start)}.start();\n"
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("a script of the pack holds what ends its element")
    return script


def _function(path: Path, text: str) -> str:
    exports = _EXPORT.findall(text)
    body = _IMPORT.sub(lambda match: f"const {{ {match[1]} }} = {_name(path.parent / match[2])};", text)
    body = _EXPORT.sub("", body)
    left = re.search(r"^\s*(?:import|export)\b.*|\bimport\.meta\b|\bimport\(", body, re.MULTILINE)
    if left:
        raise ValueError(f"{path.name} has a form of import or export that is not joined: {left[0]}")
    return f"const {_name(path)} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();\n"


def _name(path: Path) -> str:
    return f"module_{path.stem}"


def texts(script: str) -> dict[str, dict[str, str]]:
    """The messages that a script uses, by language; those that a language lacks are English."""
    found = {}
    for path in sorted((_ROOT / "locales").glob("*/main.json")):
        messages = json.loads(path.read_text(encoding="utf-8"))["eridiffusion"]
        found[path.parent.name] = {key: text for key, text in messages.items() if f'"{key}"' in script}
    return found


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

"""Where a Chromium is that tests may drive; on Debian and Ubuntu it is installed where there is none (root only)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

#: Needed without a display, as root, and so that nothing but the page under test is fetched.
FLAGS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge", "microsoft-edge")


def find_chromium() -> str | None:
    """Path of a Chromium: `$ERI_CHROMIUM`, one on the PATH, or playwright's own; None where there is none."""
    named = os.environ.get("ERI_CHROMIUM")
    if named:
        return named
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    return found or _playwrights_own()


def _playwrights_own() -> str | None:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return None
    with sync_playwright() as driver:
        path = driver.chromium.executable_path
    return path if Path(path).is_file() else None


def install_chromium() -> bool:
    """Install Debian's or Ubuntu's chromium; False where this is no such system, not root, or it fails."""
    apt = shutil.which("apt-get")
    if apt is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        if subprocess.run([apt, *arguments], env=environment, capture_output=True, check=False).returncode:
            return False
    return True

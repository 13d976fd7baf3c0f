"""The host's real front end in headless Chromium: one host, one browser for all tests here."""

from __future__ import annotations

import json
import mimetypes
import os
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from comfyui_eridiffusion.dev.example_pictures import start_picture
from comfyui_eridiffusion.dev.host_install import FRONT_END, WORKSPACE, HostInstall, download
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.families import DOWNLOADS
from comfyui_eridiffusion.tests.conftest import ATTENTION
from comfyui_eridiffusion.tests.frontend.browser import FLAGS, find_chromium, install_chromium
from comfyui_eridiffusion.tests.waiting import PATIENCE

#: As a person has it who opened ComfyUI before: no tour, no release notes.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.32.9",
    "Comfy.Minimap.Visible": False,
    "Comfy.Notification.ShowVersionUpdates": False,
}
READY = """() => window.app?.graph && window.LiteGraph && Object.keys(LiteGraph.registered_node_types).length > 300
    && app.vueAppReady && app.extensionManager.workflow.activeWorkflow && !app.extensionManager.spinner"""
#: Two pictures of the page later, what a change made visible is drawn.
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
#: Titles of the groups and nodes that a toast lies over.
COVERED = """() => {
    const { graph, ds, canvas } = app.canvas;
    const whole = canvas.getBoundingClientRect();
    const place = ({ pos, size }, side) => [pos[side], pos[side] + size[side]]
        .map((value) => (value + ds.offset[side]) * ds.scale + [whole.left, whole.top][side]);
    const toasts = [...document.querySelectorAll(".p-toast-message")].map((toast) => toast.getBoundingClientRect());
    return [...graph._groups, ...graph._nodes.filter(({ flags }) => !flags.collapsed)].filter((drawn) => {
        const [[left, right], [top, bottom]] = [place(drawn, 0), place(drawn, 1)];
        return toasts.some((box) => box.left < right && left < box.right && box.top < bottom && top < box.bottom);
    }).map(({ title }) => title);
}"""
#: Newer front ends say beside the graph what it lacks, and its files' addresses in the panel on the right.
LACKS, LACKED = '[data-testid="error-overlay"]', '[data-testid="missing-model-importable-rows"] > *'
DIALOGS = f".p-dialog, {LACKS}"
#: Of each row there, the file's folder and name; the folder stands before its size.
ROWS = """rows => rows.map(row => row.innerText.split("\\n").map(line => line.trim()).filter(Boolean))
    .map(([name, folder]) => `${folder.split(" · ")[0]} / ${name}`)"""


@pytest.fixture(scope="session")
def chromium() -> str:
    path = find_chromium()
    if path is None and install_chromium():
        path = find_chromium()
    if path is not None:
        return path
    reason = "no Chromium: set ERI_CHROMIUM, install chromium or google-chrome, or run: playwright install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loras folder of the front end's host, for a test's own runs."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def named_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders with an empty file under every name that the graphs use."""
    import torch

    base = tmp_path_factory.mktemp("named")
    for name, file in DOWNLOADS.items():
        (base / file.folder).mkdir(exist_ok=True)
        save_file({"x": torch.zeros(1)}, base / file.folder / name)
    return base


@pytest.fixture(scope="session")
def frontend_host(comfyui: HostInstall, named_models: Path, runs_dir: Path) -> Iterator[LocalHost]:
    """A host that offers, besides the small models, the named ones."""
    folders: dict[str, list[Path]] = {"loras": [runs_dir]}
    folders |= {folder.name: [folder] for folder in named_models.iterdir()}
    with LocalHost(comfyui, model_paths=folders, extra_args=(ATTENTION,)) as host:
        start_picture().save(host.input_dir / "example.png")
        send_settings(host.url)
        yield host
    for kept in (Path(__file__).parents[2] / "examples" / "runs").glob("*/eridiffusion.json"):
        kept.unlink()  # what was dropped or chosen for an example's run


def send_settings(url: str) -> None:
    """Give a host the settings that no tour stands in the way."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/settings", json.dumps(SETTINGS).encode(), headers, method="POST")
    urllib.request.urlopen(request, timeout=PATIENCE).close()


@dataclass
class Canvas:
    """The front end's page, and what its console and network complained about since `clear()`."""

    page: Any
    url: str
    complaints: list[str] = field(default_factory=list)
    asked: set[Any] = field(default_factory=set)  # requests without an answer so far

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))
        self.page.on("console", lambda line: line.type == "error" and self._note(line))
        self.page.on("request", lambda request: self.asked.add(request))
        for over in ("requestfinished", "requestfailed"):
            self.page.on(over, lambda request: self.asked.discard(request))

    def _note(self, line: Any) -> None:
        self.complaints.append(f"{line.text} {line.location['url']}")

    def clear(self) -> None:
        self.complaints.clear()

    def settle(self) -> None:
        """Until the page has drawn what it was told, and has an answer to all that it asked for."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.page.evaluate(DRAWN)
            if not self.asked:
                return
            assert time.monotonic() < deadline, f"no answer to {[request.url for request in self.asked]}"
            self.page.wait_for_timeout(20)

    def open(self) -> None:
        """The front end as at its start: it knows no graph, and nothing of the host's files."""
        self.asked.clear()  # what the page before asked for is of no interest
        self.page.goto(self.url)
        self.page.wait_for_function(READY)
        self.settle()

    def reload(self) -> None:
        """Open it anew, without what it kept of the graphs before."""
        self.page.evaluate("() => { localStorage.clear(); sessionStorage.clear() }")
        self.open()

    def load(self, graph: dict[str, Any], name: str = "graph") -> None:
        """Put a UI graph on the canvas as dropping its file does."""
        self.page.evaluate("([graph, name]) => app.loadGraphData(graph, true, true, name)", [graph, name])
        self.settle()

    def dialogs(self) -> list[str]:
        texts: list[str] = self.page.locator(DIALOGS).all_inner_texts()
        return texts

    def missing_models(self) -> list[str]:
        """The files that the front end offers for download, each as "folder / file", once it shows them."""
        self.page.wait_for_selector(DIALOGS)
        if not self.page.locator(LACKS).count():
            (dialog,) = self.dialogs()
            return [line for line in dialog.splitlines() if " / " in line]
        self.page.locator(LACKS).locator('[data-testid="error-overlay-see-errors"]').click()
        self.page.wait_for_selector(LACKED)
        self.settle()
        offered: list[str] = self.page.locator(LACKED).evaluate_all(ROWS)
        return offered

    def close_dialogs(self) -> None:
        """Menus, too, and what newer front ends say of errors beside the graph."""
        deadline = time.monotonic() + PATIENCE
        for dismiss in self.page.locator('[data-testid="error-overlay-dismiss"]').all():
            dismiss.click()
        for panel in self.page.locator('button[aria-label="Toggle properties panel"][aria-pressed="true"]').all():
            panel.click()
        self.page.keyboard.press("Escape")
        while self.page.locator(DIALOGS).count():  # a dialog that still unfolds does not notice the key
            assert time.monotonic() < deadline, self.dialogs()
            self.page.wait_for_timeout(100)
            self.page.keyboard.press("Escape")

    def prompt(self) -> dict[str, dict[str, Any]]:
        """The API graph that the front end would queue."""
        output: dict[str, dict[str, Any]] = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        return output

    def serialized(self) -> dict[str, Any]:
        graph: dict[str, Any] = self.page.evaluate("() => app.graph.serialize()")
        return graph

    def screenshot(self, name: str) -> None:
        """For a person to look at, where ERI_SCREENSHOTS names a folder."""
        folder = os.environ.get("ERI_SCREENSHOTS")
        if folder:
            self.page.wait_for_timeout(600)  # what unfolds or fades is done
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.fixture(scope="package")  # no longer: while it is open, its event loop keeps others from running theirs
def browser(chromium: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS), headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def canvas(browser: Any, frontend_host: LocalHost) -> Canvas:
    """The one page of all files: the front end takes seconds to start. What must start anew says `reload()`."""
    return opened(browser, frontend_host.url)


@pytest.fixture(scope="module")
def newest(browser: Any, frontend_host: LocalHost) -> Iterator[Canvas]:
    """The same host in the newest front end: the page gets its files in place of those of the host's own."""
    with zipfile.ZipFile(download(FRONT_END, WORKSPACE)) as wheel:
        yield opened(browser, frontend_host.url, wheel)


def opened(browser: Any, url: str, front_end: zipfile.ZipFile | None = None) -> Canvas:
    """A page of its own on the host's front end, or on that of a wheel."""
    page = browser.new_context(viewport={"width": 1600, "height": 900}, bypass_csp=True).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    canvas = Canvas(page, url)
    # What the front end asks of other servers (sizes of model files, names of packs) is answered with nothing.
    page.route(
        lambda asked: asked.startswith("http") and not asked.startswith(url),
        lambda route: route.fulfill(status=200, content_type="application/json", body='{"nodes": []}'),
    )
    if front_end is not None:
        files = set(front_end.namelist())

        def from_wheel(route: Any) -> None:
            path = urllib.parse.urlparse(route.request.url).path.lstrip("/") or "index.html"
            name = f"comfyui_frontend_package/static/{path}"
            if name not in files:
                return route.continue_()
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            return route.fulfill(body=front_end.read(name), content_type=kind)

        page.route(f"{url}/**", from_wheel)
    canvas.open()
    return canvas


@pytest.fixture
def fresh(canvas: Canvas) -> Canvas:
    """The canvas without what earlier tests, or the front end's own start, complained about or told."""
    canvas.close_dialogs()
    canvas.page.evaluate("() => app.extensionManager.toast.removeAll()")
    canvas.clear()
    return canvas

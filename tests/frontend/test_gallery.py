"""A gallery in Chromium, opened from the disk as a person opens it, and from its own server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.compare.collection import Place, read_collection
from comfyui_eridiffusion.compare.votes import Candidate, read_votes
from comfyui_eridiffusion.gallery.marks import KeptMarks
from comfyui_eridiffusion.gallery.serve import serving
from comfyui_eridiffusion.gallery.votes import KeptVotes
from comfyui_eridiffusion.gallery.write import write_gallery
from comfyui_eridiffusion.tests.compare.sample_pictures import picture, run_of_pictures, spec_of
from comfyui_eridiffusion.tests.frontend.blind_votes import READY
from comfyui_eridiffusion.tests.frontend.sidebar_runs import CONTRAST
from comfyui_eridiffusion.tests.waiting import PATIENCE

PROMPTS = (
    "a red fox in the snow",
    '</script><script>window.harmed = 1</script> "quotes" & <b>bold</b> <img src=x onerror="window.harmed = 2">',
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "an owl \N{OWL} on a branch",
)
KEYS = {"": {}, "strength=0.5": {"strength": 0.5}}
STEPS = (0, 250, 500, 1000, 2000)
CELLS = "[role=gridcell]"
#: Scroll the grid to its end and back, one move for each frame: the most pictures at a time.
SCROLL = """async () => {
    const box = document.querySelector('.eri-scroll');
    const frame = () => new Promise(requestAnimationFrame);
    let most = 0;
    for (const to of [1, 0]) {
        for (let part = 1; part <= 30; part += 1) {
            const at = to ? part / 30 : 1 - part / 30;
            box.scrollTop = at * (box.scrollHeight - box.clientHeight);
            await frame();
            most = Math.max(most, box.querySelectorAll('img').length);
        }
    }
    return most;
}"""
SHOWN = """() => {
    const box = document.querySelector('.eri-scroll').getBoundingClientRect();
    return [...document.querySelectorAll('.eri-made')].filter(cell => {
        const { top, bottom, left, right } = cell.getBoundingClientRect();
        return bottom > box.top && top < box.bottom && right > box.left && left < box.right;
    }).every(cell => cell.querySelector('img')?.complete);
}"""


@dataclass
class Opened:
    """A page, and what its console and its network said."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.said.append(f"page: {error}"))
        self.page.on("console", lambda line: self.said.append(line.text))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, url: str) -> Any:
        self.said.clear()
        self.asked.clear()
        self.page.goto(url)
        self.page.wait_for_function("() => document.querySelector('.eri-scroll td img')?.complete")
        return self.page


@pytest.fixture(scope="module")
def opened(browser: Any) -> Opened:
    page = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB").new_page()
    page.set_default_timeout(1000 * PATIENCE)
    return Opened(page)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with another strength, and with the trainer's own samples of one step."""
    base = tmp_path_factory.mktemp("gallery")
    spec = spec_of(PROMPTS)
    root = run_of_pictures(base / "out" / "my_run", spec, STEPS)
    run_of_pictures(root, spec, (500, 1000), ("strength=0.5",))
    for item in spec.items:
        path = picture(base / "trained", spec, 500, item.index)
        Image.new("RGB", (96, 64), (0, 0, 60 * item.index)).save(path)
    about = {"version": 1, "run": "my_run", "item": 0, "file": "a.png"}
    lines = [{**about, "step": step, "axes": {}, "change": step / 100, "sharpness": 7.0} for step in STEPS]
    lines += [{**about, "step": step, "axes": KEYS["strength=0.5"], "change": 1.0} for step in (500, 1000)]
    (root / "measures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    write_gallery(read_collection(root, base / "trained"))
    return root


@pytest.fixture
def page(opened: Opened, run: Path) -> Iterator[Any]:
    yield opened.open((run / "gallery" / "index.html").as_uri())
    assert opened.said == []
    assert all(url.startswith((run / "gallery").as_uri()) for url in opened.asked)


def test_measures_are_drawn_and_cells_tell_how_far_they_are_from_the_trainers(page: Any) -> None:
    page.get_by_label("Size").fill("48")
    page.wait_for_function("() => document.querySelectorAll('.eri-scroll .eri-verdict').length === 4")
    assert set(page.locator(".eri-scroll .eri-verdict").all_inner_texts()) == {"≠"}
    page.get_by_label("Size").fill("148")
    page.get_by_text("Measures").click()
    assert page.locator(".charts figcaption").all_inner_texts() == ["Change against no LoRA, of 255", "Sharpness"]
    points = page.locator(".charts polyline").evaluate_all(
        "all => all.map(line => [...line.points].map(({ x, y }) => [x, y]))"
    )
    assert [len(line) for line in points] == [5, 2, 5]
    (left, bottom), *middle, (right, top) = points[0]
    for (x, y), step in zip(middle, STEPS[1:-1], strict=True):
        assert (x - left) / (right - left) == pytest.approx(step / 2000, abs=1e-3)
        assert (bottom - y) / (bottom - top) == pytest.approx(step / 2000, abs=1e-3)
    assert len({y for _, y in points[2]}) == 1
    page.get_by_text("Measures").click()


def labels(page: Any) -> list[str]:
    texts: list[str] = page.locator(".eri-scroll tbody th span").all_text_contents()
    return texts


def test_rows_steps_and_texts_as_they_are(page: Any) -> None:
    assert labels(page) == [
        f"{kind} · {prompt}" for prompt in PROMPTS for kind in ("as trained", "strength 0.5", "The trainer's own")
    ]
    heads = page.locator(".eri-scroll thead th").all_inner_texts()
    assert heads == ["Prompt", *map(str, STEPS)]
    assert page.evaluate("() => [window.harmed, document.querySelectorAll('b, script[src]').length]") == [None, 0]
    assert page.locator(".note").inner_text() == "Pictures: 32 of 32"


def test_filters_size_and_colours(page: Any) -> None:
    page.get_by_label("Search prompts").fill("OWL")
    page.get_by_label("Rows").select_option("strength 0.5")
    page.get_by_label("From step").select_option("1000")
    assert labels(page) == [f"strength 0.5 · {PROMPTS[3]}"]
    assert page.locator(".note").inner_text() == "Pictures: 1 of 32"
    page.get_by_label("Search prompts").fill("nothing like it")
    assert page.locator(".note").inner_text() == "No picture fits the filter."
    page.get_by_label("Search prompts").fill("")
    width = "cell => cell.getBoundingClientRect().width"
    before = page.locator(CELLS).first.evaluate(width)
    page.get_by_label("Size").fill("500")
    assert page.locator(CELLS).first.evaluate(width) > before + 100
    page.wait_for_function("() => document.querySelector('.eri-scroll td img')?.src.endsWith('-576.webp')")
    for colours, light in (("dark", False), ("light", True)):
        page.get_by_label("Colours").select_option(colours)
        red = page.evaluate("() => Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
        assert (red > 128) is light
        for tag, ratio, least in page.evaluate(CONTRAST.replace(".eri-runs", "main")):
            assert ratio >= least, (colours, tag)


def test_large_view_with_keys_wipe_slider_and_moving_picture(page: Any) -> None:
    page.locator(CELLS).first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    heading = viewer.get_by_role("heading")
    assert heading.inner_text() == "my_run · Step 250, prompt 1 of 12"
    page.keyboard.press("End")
    assert "Step 2000" in heading.inner_text()
    slider = viewer.get_by_label("Step", exact=True)
    slider.fill("2")
    assert "Step 500" in heading.inner_text()
    assert slider.get_attribute("aria-valuetext") == "step 500"
    viewer.locator(".eri-verdict").get_by_text("≠ Beside the trainer's: different").wait_for()
    choice = viewer.get_by_label("Compare with")
    assert choice.locator("option").all_inner_texts() == [
        "nothing", "The trainer's own", "No LoRA", "step 250", "step 1000", "step 2000", "strength 0.5",
    ]  # fmt: skip
    for against in ("The trainer's own", "strength 0.5", "step 1000"):
        choice.select_option(against)
        assert viewer.locator(".eri-other").get_attribute("alt") == f"{against}: {PROMPTS[0]}"
        page.wait_for_function("() => document.querySelector('.eri-other').naturalWidth === 96")
    viewer.get_by_label("Where one picture ends").fill("30")
    clip = viewer.locator(".eri-other").evaluate("image => getComputedStyle(image).clipPath")
    assert clip == "inset(0px 70% 0px 0px)"
    viewer.get_by_role("button", name="Play over the steps").click()
    moving = page.get_by_role("dialog", name="Play over the steps")
    moving.get_by_role("img").evaluate("image => image.decode()")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.evaluate("() => document.activeElement.getAttribute('role')") == "gridcell"


def test_marks_stay_and_can_be_saved(page: Any, run: Path, tmp_path: Path) -> None:
    page.locator(CELLS).nth(1).click()
    page.get_by_role("button", name="Favourite", exact=True).click()
    page.get_by_label("Note", exact=True).fill("six fingers <b>")
    page.keyboard.press("Escape")
    page.locator(".eri-favourite").wait_for()
    page.reload()
    page.get_by_label("Show", exact=True).select_option("favourites")
    assert labels(page) == [f"as trained · {PROMPTS[0]}"]
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save favourites, rejects and notes").click()
    saved = tmp_path / saving.value.suggested_filename
    saving.value.save_as(saved)
    kept = KeptMarks(read_collection(run))
    assert kept.take(saved) == 1
    assert kept.all() == [{"step": 250, "item": 0, "mark": "favourite", "note": "six fingers <b>"}]
    (run / "eridiffusion.json").unlink()
    page.evaluate("() => localStorage.clear()")


def blind(page: Any, count: int) -> Any:
    """Prefer the left picture so often; the dialog with what follows from it."""
    page.get_by_role("button", name="Compare blind").click()
    dialog = page.locator(".eri-blind")
    dialog.get_by_role("textbox").fill("Anna")
    page.keyboard.press("Enter")
    for given in range(count):
        page.wait_for_function(READY, arg=given)
        told = dialog.evaluate("dialog => dialog.outerHTML")
        assert not [word for word in ("step", "Step", ".png", "<img", "strength") if word in told]
        page.keyboard.press("1")
    page.wait_for_function(READY, arg=count)
    dialog.get_by_role("button", name="Result").click()
    dialog.locator(".eri-blind-chart").wait_for()
    return dialog


def test_blind_votes_are_saved_as_a_file(page: Any, run: Path, tmp_path: Path) -> None:
    dialog = blind(page, 3)
    with page.expect_download() as saving:
        dialog.get_by_role("button", name="Save votes").click()
    saved = tmp_path / saving.value.suggested_filename
    saving.value.save_as(saved)
    votes = read_votes(saved, "my_run")
    assert [(vote.voter, vote.vote) for vote in votes] == [("Anna", "left")] * 3
    cells = {(Candidate.of(place.step, KEYS[place.key]), place.item) for place in read_collection(run).pictures}
    assert all({(vote.left, vote.item), (vote.right, vote.item)} <= cells for vote in votes)
    page.evaluate("() => localStorage.clear()")


def test_a_served_gallery_keeps_marks_and_tells_of_new_pictures(opened: Opened, run: Path) -> None:
    found = read_collection(run)
    with serving(run / "gallery", {"marks": KeptMarks(found), "votes": KeptVotes(found)}, port=0) as url:
        page = opened.open(url)
        page.locator(CELLS).first.click()
        page.get_by_role("button", name="Reject").click()
        page.get_by_role("dialog").locator("[aria-pressed=true]").wait_for()
        kept = json.loads((run / "eridiffusion.json").read_text(encoding="utf-8"))
        assert kept["marks"] == [{"step": 0, "item": 0, "mark": "reject"}]
        opened.open(url)
        page.locator(".eri-reject").wait_for()
        dialog = blind(page, 2)
        assert dialog.locator(".eri-blind-chart tbody tr").count() in (2, 3, 4)
        page.keyboard.press("Escape")
        assert [vote.vote for vote in read_votes(run / "votes.jsonl", "my_run")] == ["left", "left"]
        write_gallery(found, title="later")
        page.evaluate("() => window.dispatchEvent(new Event('focus'))")  # somebody comes back to the page
        page.get_by_role("button", name="There are new pictures").click()
        page.get_by_role("heading", name="later").wait_for()
        assert opened.said == []
        assert all(asked.startswith(url) for asked in opened.asked)
        page.goto("about:blank")  # it would ask on


def test_a_thousand_pictures_scroll(opened: Opened, tmp_path: Path) -> None:
    """Only what is in view has a picture, and where the scroll ends nothing stays empty."""
    spec = spec_of(tuple(f"prompt {number}" for number in range(50)), name="large")
    root = run_of_pictures(tmp_path / "large", spec_of(PROMPTS, name="large"), (0,))
    files = sorted(root.rglob("*.png"))
    small = read_collection(root)
    items = tuple(replace(small.items[0], index=item.index, prompt=item.prompt) for item in spec.items)
    cells = {Place("", step, item.index): files[(step + item.index) % 4] for step in range(20) for item in items}
    done = write_gallery(replace(small, items=items, steps=tuple(range(20)), pictures=cells), animation="none")
    assert done.pictures == 1000
    page = opened.open(done.page.as_uri())
    assert page.evaluate(SCROLL) < 250
    page.wait_for_function(SHOWN)
    assert opened.said == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(SHOWN)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1440, "height": 900})


def test_every_policy_names_its_script(run: Path) -> None:
    """Neither unsafe words nor other hosts."""
    text = (run / "gallery" / "index.html").read_text(encoding="utf-8")
    found = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert found
    assert not re.search(r"unsafe|http|\*|data:|blob:", found[1])
    assert found[1].startswith("default-src 'none'; img-src 'self'")

"""The sidebar tab in the real front end: a run's grid, its keys, what goes wrong, and the graph behind a cell."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.frontend.conftest import Canvas, opened
from comfyui_eridiffusion.tests.frontend.sidebar_runs import (
    CELLS,
    CONFIG,
    CONTRAST,
    CUT,
    EXAMPLES,
    TABLE,
    VISIBLE,
    compare,
    hide,
    keep_config,
    make_sample,
    mark_and_note,
    show,
    show_example,
    write_run,
)  # fmt: skip
from comfyui_eridiffusion.tests.waiting import wait_until_idle

ROOT = Path(__file__).parents[2]
LARGE_STEPS = range(100, 10000, 100)
#: What a page would do with prompts that it took for HTML.
HOSTILE = (
    '<img src=x onerror="window.harmed = 1"> a <b>bold</b> cat',
    "<script>window.harmed = 2</script>",
    "&lt;i&gt; & an entity",
    '"><svg onload=window.harmed=3>',
)


@pytest.fixture(scope="module")
def runs(frontend_host: LocalHost, runs_dir: Path, canvas: Canvas) -> Iterator[Path]:
    """Runs: `large` with 50 prompts and 99 checkpoints, `bare` without a config, `away`, a link out of the folder."""
    prompts = [
        *HOSTILE,
        *(f"castle {index} on a hill at sunset, wide angle, soft light, oil on canvas" for index in range(46)),
    ]
    large = write_run(runs_dir, "large", LARGE_STEPS, prompts)
    (large / "broken.yaml").write_text("a: [1\n", encoding="utf-8")
    write_run(runs_dir, "bare", range(100, 200, 100))
    (runs_dir / "away").symlink_to(write_run(runs_dir.parent / "elsewhere", "away", range(100, 200, 100)))
    shutil.copy(CONFIG, frontend_host.input_dir / "mine.yaml")
    (frontend_host.input_dir / "broken.yaml").write_text("job: extension\nconfig: [1,\nprocess: }\n", encoding="utf-8")
    for step in (100, 200, 9800, 9900):
        for item in range(50):
            make_sample(frontend_host, "large", step, item)
    make_sample(frontend_host, read_spec(CONFIG).name, 250, 1)
    yield runs_dir
    hide(canvas)
    (runs_dir / "away").unlink()
    for folder in runs_dir.iterdir():  # other tests need no such list
        shutil.rmtree(folder)


@pytest.fixture
def tab(fresh: Canvas, runs: Path) -> Any:
    """The tab on the Flux example, whose config lies in the input folder and one of whose samples is made."""
    return show_example(fresh)


def test_grid_shows_prompts_steps_and_what_is_made(tab: Any, fresh: Canvas, frontend_host: LocalHost) -> None:
    """And its gallery is written."""
    spec = read_spec(CONFIG)
    assert tab.locator(".eri-runs tbody th").all_inner_texts() == [item.prompt for item in spec.items]
    titles = [tab.locator(f"#eri-{name}").get_attribute("title") for name in ("run", "config")]
    assert titles == ["flux_zorp", "mine.yaml"]
    sizes = "images => images.map(image => [image.naturalWidth, image.naturalHeight])"
    assert tab.locator(f"{CELLS} img").evaluate_all(sizes) == [[144, 108]]
    assert tab.get_by_role("grid", name="Prompts by steps").count() == 1
    made = tab.get_by_role("gridcell", name=f"{spec.items[1].prompt}, step 250, made", exact=True)
    assert made.locator("img").count() == 1
    assert tab.get_by_role("gridcell", name=f"{spec.items[0].prompt}, step 0, not made yet", exact=True).count() == 1
    tab.get_by_role("button", name="Write gallery").click()
    tab.locator(".p-toast").get_by_text(f"output/{spec.name}/gallery/index.html").wait_for()
    fresh.screenshot("sidebar_gallery")
    tab.locator(".p-toast-close-button").click()
    gallery = frontend_host.output_dir / spec.name / "gallery"
    assert spec.items[1].prompt in (gallery / "index.html").read_text(encoding="utf-8")
    shutil.rmtree(gallery)
    assert fresh.complaints == []


def test_the_list_of_runs_by_name_and_by_favourites(tab: Any, runs: Path) -> None:
    """The first that is left is shown; what was chosen stays in the list."""
    options = tab.locator("#eri-run option")
    tab.get_by_label("Order of runs").select_option("By name")
    names = options.evaluate_all("options => options.map(option => option.value)")
    assert names == sorted(names)
    marks = [{"step": 100, "item": 0, "mark": "reject"}, {"step": 100, "item": 1, "mark": "favourite"}]
    (runs / "bare" / "eridiffusion.json").write_text(json.dumps({"version": 1, "marks": marks}), encoding="utf-8")
    tab.get_by_label("Runs in the list").select_option("With favourites only")
    tab.wait_for_function("() => document.querySelector('#eri-run').value === 'bare'")
    tab.get_by_text("Runs found: 1").wait_for()
    tab.get_by_label("Search runs").fill("no such run")
    tab.get_by_text("Runs found: 0").wait_for()
    tab.get_by_label("Search runs").fill("")
    assert {"large", "bare"} <= set(names)
    assert "large" not in options.evaluate_all("options => options.map(option => option.value)")
    tab.get_by_label("Runs in the list").select_option("All runs")
    (runs / "bare" / "eridiffusion.json").unlink()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_in_both_themes(tab: Any, fresh: Canvas, theme: str) -> None:
    tab.evaluate("id => app.extensionManager.setting.set('Comfy.ColorPalette', id)", theme)
    # on the body, in newer front ends on the root
    tab.wait_for_function("dark => (document.querySelector('.dark-theme') !== null) === dark", arg=theme == "dark")
    fresh.settle()
    tab.wait_for_function("() => !document.getAnimations().some(change => change instanceof CSSTransition)")
    fresh.screenshot(f"sidebar_{theme}")
    found = tab.evaluate(CONTRAST)
    assert len(found) > 20
    assert "ring of BUTTON" in {name for name, *_ in found}
    assert [(name, ratio) for name, ratio, least in found if ratio < least] == []


def test_a_cell_opens_large_and_goes_through_steps_and_prompts(
    tab: Any, fresh: Canvas, frontend_host: LocalHost
) -> None:
    """Then its graph, from there."""
    spec = read_spec(CONFIG)
    tab.evaluate("() => app.graph.clear()")
    steps = [int(step) for step in tab.locator(".eri-runs thead th").all_inner_texts()[1:]]
    make_sample(frontend_host, spec.name, 1000, 1)
    own = EXAMPLES / "runs" / "flux_zorp" / "samples_step_000250" / "step_000250_sample_01.png"
    own.parent.mkdir(exist_ok=True)
    Image.new("RGB", (512, 384), (23, 120, 50)).save(own)  # as ours is, but for three levels of red
    try:
        tab.get_by_label("Look again").click()
        tab.locator(f"{CELLS} .eri-verdict").get_by_text("≈ 3").wait_for()
        name = f"{spec.items[1].prompt}, step 250, made, Beside the trainer's: close (3 of 255)"
        tab.get_by_role("gridcell", name=name).focus()
        tab.keyboard.press("Enter")
        tab.get_by_role("dialog", name="flux_zorp · Step 250, prompt 2 of").wait_for()
        viewer = tab.locator(".eri-viewer")
        viewer.get_by_text("≈ Beside the trainer's: close (3 of 255)").wait_for()
        assert spec.items[1].prompt in viewer.locator(".eri-prompt").inner_text()
        assert viewer.locator(".eri-facts").inner_text().startswith(f"Seed {spec.items[1].seed} ")
        tab.wait_for_function("() => document.querySelector('.eri-viewer img').naturalWidth === 512")
        fits = "image => { const b = image.getBoundingClientRect(); return [b.width / b.height, b.height > 300]; }"
        ratio = spec.items[1].width / spec.items[1].height
        assert viewer.locator("img").first.evaluate(fits) == [pytest.approx(ratio, abs=0.01), True]

        compare(viewer)
        fresh.screenshot("viewer")

        viewer.locator(".eri-stage").focus()
        nodes = tab.evaluate("() => app.graph._nodes.length")
        later = steps[steps.index(250) + 1]
        ways = (("ArrowRight", later, 2), ("ArrowUp", later, 1), ("Home", 0, 1), ("ArrowLeft", 0, 1))
        for key, step, prompt in (*ways, ("ArrowDown", 0, 2), ("Delete", 0, 2)):
            tab.keyboard.press(key)
            assert viewer.locator("h2").inner_text() == f"flux_zorp · Step {step}, prompt {prompt} of {len(spec.items)}"
        assert viewer.get_by_text("Not made yet", exact=True).is_visible()
        assert tab.evaluate("() => app.graph._nodes.length") == nodes
        mark_and_note(tab, step=0, item=1)
        tab.keyboard.press("Escape")
        # the focus is on the cell again, once the dialog has told that it is closed
        back = "start => document.activeElement.ariaLabel?.startsWith(start)"
        tab.wait_for_function(back, arg=f"{spec.items[1].prompt}, step 0,")
    finally:
        shutil.rmtree(own.parent)
    tab.locator(".eri-runs tbody tr").nth(1).locator("td").nth(1).click()
    viewer.get_by_role("button", name="Open graph").click()
    tab.wait_for_function("() => app.graph._nodes.some(node => node.type === 'EriSaveSamples')")
    fresh.settle()
    prompt = fresh.prompt()
    lora = next(node for node in prompt.values() if node["class_type"] == "EriLoraAtStep")
    assert (lora["inputs"]["run"], lora["inputs"]["step"]) == ("flux_zorp", steps[1])
    node = next(node for node in prompt.values() if node["class_type"] == "EriSampleSpec")
    assert [item.prompt for item in read_spec(node["inputs"]["config"]).items] == [spec.items[1].prompt]
    assert fresh.complaints == []


def test_keys_stay_in_the_grid(tab: Any, fresh: Canvas) -> None:
    spec = read_spec(CONFIG)
    tab.evaluate(
        "() => { app.graph.add(LiteGraph.createNode('Note')); app.canvas.selectItems([app.graph._nodes[0]]); }"
    )
    nodes = tab.evaluate("() => app.graph._nodes.length")
    tab.locator(CELLS).first.focus()
    for keys in ("ArrowLeft", "ArrowUp", "Delete", "Backspace"):
        tab.keyboard.press(keys)
    assert tab.evaluate("() => document.activeElement.ariaLabel").startswith(f"{spec.items[0].prompt}, step 0,")
    assert tab.evaluate("() => app.graph._nodes.length") == nodes
    tab.keyboard.press("Control+End")
    assert tab.evaluate("() => document.activeElement.ariaLabel").startswith(f"{spec.items[-1].prompt}, step 1000,")
    assert tab.evaluate(f"{VISIBLE.strip()}", tab.evaluate_handle("() => document.activeElement"))
    tab.keyboard.press("Home")
    assert tab.evaluate("() => document.activeElement.ariaLabel").startswith(f"{spec.items[-1].prompt}, step 0,")
    assert tab.locator(f"{CELLS}[tabindex='0']").count() == 1


def test_slider_marks_a_column(tab: Any) -> None:
    slider = tab.locator("#eri-step")
    slider.focus()
    tab.keyboard.press("Home")
    assert tab.locator(".eri-runs thead .eri-at").inner_text() == "0"
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".eri-runs thead .eri-at").inner_text() == tab.locator(".eri-runs output").inner_text() != "0"


def test_a_large_run_opens_at_its_last_step_and_asks_for_what_is_in_view(fresh: Canvas, runs: Path) -> None:
    asked: list[str] = []
    page = fresh.page
    page.on("request", lambda request: asked.append(request.url) if "/thumbnail" in request.url else None)
    meter = page.context.new_cdp_session(page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        metrics = meter.send("Performance.getMetrics")["metrics"]
        return float(next(entry["value"] for entry in metrics if entry["name"] == "TaskDuration"))

    before = busy()
    show(fresh, "large")
    page.wait_for_function("() => document.querySelectorAll('.eri-runs td img').length > 10")
    assert busy() - before < 1.5  # of the page's own thread; 0.5 s where it was written
    page.wait_for_function("() => [...document.querySelectorAll('.eri-runs td img')].every(image => image.complete)")
    fresh.screenshot("sidebar_large")
    assert page.locator(CELLS).count() == 50 * (len(LARGE_STEPS) + 1)
    assert page.locator(".eri-runs td img").count() < 120
    assert len(asked) < 120
    assert page.locator(".eri-runs thead th").last.evaluate(VISIBLE)
    assert page.locator(".eri-runs tbody th").first.evaluate(VISIBLE)
    assert page.locator(CELLS).nth(len(LARGE_STEPS)).evaluate(VISIBLE)
    assert page.evaluate(CUT) == []

    assert page.locator(".eri-runs tbody th").all_inner_texts()[:4] == list(HOSTILE)  # shown as they are written
    page.locator(CELLS).first.hover()
    assert page.evaluate("() => window.harmed") is None
    assert page.locator(".eri-runs :is(b, svg, script)").count() == 0

    page.evaluate("() => { document.querySelector('.eri-scroll').scrollTo(0, 1200); }")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.eri-runs td img')].some(x => x.src.includes('000100'))"
    )
    assert page.locator(".eri-runs thead th").nth(1).evaluate(VISIBLE)
    assert page.locator(".eri-runs td img").count() < 120
    for place in (100, 2345, 99999):  # wherever a wheel or a slider leaves it
        page.evaluate("x => { document.querySelector('.eri-scroll').scrollLeft = x; }", place)
        page.wait_for_function(f"() => ({CUT})().length === 0")
    page.set_viewport_size({"width": 2000, "height": 900})
    page.locator("#eri-step").fill("50")
    page.wait_for_function(f"() => ({CUT})().length === 0")
    fresh.screenshot("sidebar_large_middle")
    assert page.locator(".eri-runs thead .eri-at").evaluate(VISIBLE)
    page.set_viewport_size({"width": 1600, "height": 900})
    assert fresh.complaints == []


def test_what_goes_wrong_is_said_and_can_be_left(fresh: Canvas, runs: Path) -> None:
    keep_config(runs / "large", "broken.yaml")
    page = show(fresh, "large")
    note = page.locator(".eri-runs .eri-note.eri-bad")
    note.wait_for()
    assert "line 3, column" in note.inner_text()
    fresh.screenshot("sidebar_broken")
    page.wait_for_selector(TABLE)  # that in the run's folder is used
    page.locator("#eri-config").evaluate("list => list.add(new Option('mine.yaml'))")
    page.locator("#eri-config").select_option("mine.yaml")  # of flux_zorp
    page.get_by_text("this is the config of 'flux_zorp'").wait_for()
    (runs / "large" / "eridiffusion.json").unlink()
    assert page.locator(".eri-runs summary").inner_text() == "Files that are not configs: 1"
    page.locator("#eri-run").select_option("bare")
    page.get_by_text("Drop the config that it was trained with on the canvas").wait_for()
    assert page.locator(TABLE).count() == 0
    page.locator("#eri-run").select_option("away, unreadable")
    note.get_by_text("out of the allowed folders").wait_for()
    page.route("**/eridiffusion/runs", lambda route: route.abort())
    page.get_by_label("Look again").click()
    note.get_by_text("ComfyUI does not answer").wait_for()
    page.unroute("**/eridiffusion/runs")
    page.get_by_label("Look again").click()
    note.get_by_text("out of the allowed folders").wait_for()


def test_new_samples_and_checkpoints_appear_when_the_host_did_something(
    fresh: Canvas, frontend_host: LocalHost, runs: Path
) -> None:
    page = show(fresh, "large")
    page.wait_for_function("() => document.querySelectorAll('.eri-runs td img').length > 10")
    prompt = read_spec(runs / "large" / "train.yaml").items[7].prompt
    page.locator(f'{CELLS}[aria-label="{prompt}, step 5000, not made yet"]').focus()
    make_sample(frontend_host, "large", 5000, 7)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/eridiffusion/runs/" in request.url else None)
    # a prompt of someone else; the host tells everyone that its queue changed
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    body = json.dumps({"prompt": graph}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{frontend_host.url}/prompt", data=body, headers=headers)
    urllib.request.urlopen(request, timeout=30).close()
    made = page.locator(f'{CELLS}[aria-label="{prompt}, step 5000, made"]')
    made.locator("img").wait_for()
    assert made.evaluate("cell => cell === document.activeElement")
    wait_until_idle(frontend_host.url)
    for _ in range(20):
        before = len(asked)
        page.wait_for_timeout(2000)
        if len(asked) == before:
            break
    else:
        pytest.fail("nothing happens, and yet it asks")

    os.link(runs / "large" / "large_000000100.safetensors", runs / "large" / "large_000005050.safetensors")
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")  # as on coming back from the trainer's terminal
    page.locator(".eri-runs thead th").get_by_text("5050").wait_for(state="attached")
    assert made.evaluate("cell => cell === document.activeElement")
    assert made.evaluate(VISIBLE)


@pytest.fixture
def clocked(browser: Any, frontend_host: LocalHost) -> Iterator[Canvas]:
    """A page of its own whose clock a test moves: what it draws no longer goes by the browser's frames."""
    canvas = opened(browser, frontend_host.url)
    canvas.clear()
    canvas.page.clock.install()
    yield canvas
    canvas.page.context.close()


def test_a_new_checkpoint_appears_by_itself_while_the_tab_can_be_seen(clocked: Canvas, runs: Path) -> None:
    page = show(clocked, "large")
    page.wait_for_selector(TABLE)
    heads, asked = page.locator(".eri-runs thead th"), []
    page.on("request", lambda request: asked.append(request.url) if "runs-version" in request.url else None)
    os.link(runs / "large" / "large_000000100.safetensors", runs / "large" / "large_000010000.safetensors")
    page.clock.run_for(6000)
    heads.get_by_text("10000").wait_for(state="attached")
    assert heads.last.evaluate(VISIBLE), "the newest step was in view, so it is again"
    assert page.locator("#eri-run option:checked").inner_text().startswith("large, steps: 1")
    (runs / "large" / "large_000010000.safetensors").unlink()
    page.clock.run_for(6000)
    heads.get_by_text("10000").wait_for(state="detached")
    page.evaluate("() => Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    clocked.settle()
    before = len(asked)
    page.clock.run_for(6000)
    clocked.settle()
    assert len(asked) == before
    page.evaluate("() => { delete document.hidden; }")
    page.clock.run_for(6000)
    clocked.settle()
    assert len(asked) > before
    page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('eridiffusion-runs')")
    page.wait_for_selector(".eri-runs", state="detached")
    clocked.settle()
    before = len(asked)
    page.clock.run_for(6000)
    clocked.settle()
    assert len(asked) == before
    assert clocked.complaints == []


def test_the_tab_speaks_the_front_ends_language(fresh: Canvas, runs: Path) -> None:
    messages = json.loads((ROOT / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))["eridiffusion"]
    page = fresh.page
    page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'zh')")
    try:
        show(fresh, "bare")
        page.get_by_text(messages["no_config"]).wait_for()
        labels = [messages[key] for key in ("run", "config", "variant", "step", "size")]
        assert page.locator(".eri-runs label").all_inner_texts() == labels
        fresh.screenshot("sidebar_zh")
    finally:
        page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")

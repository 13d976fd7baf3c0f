// The sidebar tab "Training runs": a run's prompts by its steps. A cell opens its picture large; what is missing is made.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { Blind } from "./blind.js";
import { keepChosen, SUFFIXES } from "./config_files.js";
import { make, setOptions } from "./dom.js";
import { Grid } from "./grid.js";
import { keep, readKept } from "./kept.js";
import { CONFIG_KEPT, fetchJson, keepWithRun, openGraph, postGraph, postJson, RouteError, runPath, showError } from "./lib.js";
import { maker } from "./maker.js";
import { MakingBar } from "./making_bar.js";
import { RunList } from "./run_list.js";
import { RunSource, thumbnail } from "./run_source.js";
import { text } from "./strings.js";
import { openSweep } from "./sweep.js";
import { VariantChoice } from "./variants.js";
import { verdictOf } from "./verdicts.js";
import { captioned, Viewer } from "./viewer.js";
import { writeGallery } from "./write_gallery.js";

const ID = "eridiffusion-runs";
/** After these ComfyUI may have new samples. It tells every page of its queue, and of nodes only the page that asked. */
const EVENTS = ["executed", "execution_success", "status", "reconnected", CONFIG_KEPT];
/** Least time between two looks that nobody asked for, in milliseconds. */
const PAUSE = 1500;
/** Time between two questions whether there are other checkpoints, which have no event, in milliseconds. */
const QUESTION = 5000;
/** What the route tells of what is kept with a run, and of its samples: those files are not meant as configs. */
const KEPT_KINDS = ["run_file", "images"];
const HELP = "https://github.com/CodeAlexx/comfyui-eridiffusion/blob/HEAD/docs/sidebar.md";

/** The tab's contents. `asked` tells a late answer for an earlier choice from the present one. */
class RunsTab {
  constructor(root) {
    this.asked = 0;
    this.run = null;
    this.grid = new Grid({
      text,
      thumbnail,
      open: (item, step) => this.viewer.open(item, step),
      head: (item, step) => ({ title: item ? text("make_prompt") : text("make_step", { step }), run: () => this.makeMissing(item, step) }),
      verdict: (item, step, wanted) => this.source.verdict(item, step, wanted),
    });
    this.source = new RunSource({
      verdict: verdictOf,
      openGraph: (item, step) => this.openGraph(item, step),
      missing: (item, step) => this.missing(item, step),
      make: (item, step) => this.makeMissing(item, step),
      mark: (item, step, mark) => this.mark(item, step, mark),
      note: (run, item, step, note) => this.keepOf(run, "notes", { step, item: item.index, note }, text("not_noted")),
      isMaking: () => maker.busy && !maker.stopping,
      doing: () => this.making.sentence(),
      stop: () => maker.stop(),
      left: (item, step) => this.grid.focusOn(item, step),
    });
    this.viewer = new Viewer(this.source);
    this.build(root);
    this.later = () => this.lookLater();
    for (const name of EVENTS) api.addEventListener(name, this.later);
    window.addEventListener("focus", this.later);
    this.askAgain();
  }

  dispose() {
    this.asked += 1;
    clearTimeout(this.timer);
    clearTimeout(this.question);
    this.question = null;
    for (const name of EVENTS) api.removeEventListener(name, this.later);
    window.removeEventListener("focus", this.later);
    this.making.dispose();
    this.viewer.remove();
    this.blind?.remove();
    this.grid.dispose();
  }

  build(root) {
    this.list = new RunList((name) => this.showRun(name), () => this.load(true));
    this.runs = this.list.choice;
    this.configs = make("select", { id: "eri-config", onchange: () => this.chooseConfig(this.configs.value) });
    this.file = make("input", { type: "file", multiple: true, accept: SUFFIXES.join(","), hidden: true, onchange: () => this.upload() });
    this.slider = make("input", { type: "range", id: "eri-step", min: "0", step: "1", oninput: () => this.markStep(true) });
    this.at = make("output", { htmlFor: "eri-step" });
    const size = String(readKept().size ?? 74);
    this.size = make("input", { type: "range", id: "eri-size", min: "48", max: "296", step: "4", value: size, oninput: () => this.resize() });
    this.variants = new VariantChoice(() => this.show(this.found));
    this.note = make("p", { className: "eri-note", attributes: { role: "status" } });
    this.refused = make("details", { hidden: true });
    const icon = make("i", { className: "pi pi-refresh", attributes: { "aria-hidden": "true" } });
    const refresh = make("button", {
      className: "eri-plain",
      type: "button",
      title: text("refresh"),
      attributes: { "aria-label": text("refresh") },
      onclick: () => this.load(),
    }, icon);
    const plain = (label, onclick) => make("button", { className: "eri-plain", type: "button", textContent: label, onclick });
    const browse = plain(text("choose"), () => this.file.click());
    const bar = (...children) => make("div", { className: "eri-bar" }, ...children);
    this.teach = make("div", { className: "eri-teach", hidden: true },
      plain(text("templates"), () => app.extensionManager.command.execute("Comfy.BrowseTemplates")),
      make("a", { href: HELP, target: "_blank", rel: "noopener", textContent: text("help") }));
    this.makeAll = plain(text("make_run"), () => this.makeMissing(null, null));
    this.sweep = plain(text("sweep"), () => openSweep(this.run));
    this.write = plain(text("gallery_write"), () => writeGallery(this.run.name, this.write));
    this.compareBlind = plain(text("blind"), () => this.openBlind());
    this.deeds = bar(this.makeAll, this.sweep, this.compareBlind, this.write);
    this.offerNothing(); // there is no run yet
    this.making = new MakingBar(() => {
      this.viewer.refresh();
      if (this.run) this.lookLater();
    });
    const label = (target, key) => make("label", { htmlFor: target.id, textContent: text(key) });
    this.ofGrid = [bar(label(this.slider, "step"), this.slider, this.at), bar(label(this.size, "size"), this.size)];
    root.style.height = "100%"; // the front end's element is as high as its content, which here is to scroll in itself
    root.replaceChildren(make("div", { className: "eri-runs", onkeydown: keepFromCanvas },
      bar(make("h2", { textContent: text("runs") }), refresh),
      this.controls = make("div", { className: "eri-controls" }, this.list.search,
        bar(this.list.order, this.list.which), this.list.told,
        bar(label(this.runs, "run"), this.runs),
        bar(label(this.configs, "config"), this.configs, browse, this.file),
        this.variants.element,
        ...this.ofGrid),
      this.note, this.teach, this.deeds, this.making.element, this.refused, this.grid.element));
    this.grid.resize(Number(size));
  }

  resize() {
    keep({ size: Number(this.size.value) });
    this.grid.resize(Number(this.size.value));
  }

  say(message, bad = false) {
    this.note.textContent = message;
    this.note.classList.toggle("eri-bad", bad);
  }

  /** Look again soon, and once only, however often it is asked for until then. */
  lookLater() {
    this.timer ??= setTimeout(() => {
      this.timer = null; // what happens while ComfyUI answers is looked at once more
      if (!document.hidden) this.load(true);
    }, PAUSE);
  }

  /** Ask from time to time whether other checkpoints are there, while somebody can see the tab. */
  askAgain() {
    const due = setTimeout(async () => {
      const here = () => this.question === due; // the tab may go while ComfyUI answers
      if (here() && !document.hidden && (await this.isOutdated()) && here()) await this.load(true);
      if (here()) this.askAgain();
    }, QUESTION);
    this.question = due;
  }

  async isOutdated() {
    try {
      return (await fetchJson("/eridiffusion/runs-version")).version !== this.version;
    } catch (error) {
      if (!(error instanceof RouteError)) throw error;
      return false; // nobody asked; `load` told what is wrong, or will when somebody looks
    }
  }

  /** List the runs and show the chosen one. `quiet`: what is shown stays until the answers are there. */
  async load(quiet = false) {
    if (!quiet) this.say(text("looking_runs"));
    try {
      const { runs, version } = await fetchJson("/eridiffusion/runs");
      this.version = version;
      const before = this.runs.value; // "" = none so far
      this.list.take(runs);
      this.controls.hidden = runs.length === 0;
      if (!runs.length) {
        this.clear();
        this.teach.hidden = false;
        return this.say(text("no_runs"));
      }
      await this.showRun(this.runs.value, quiet && this.run?.name === this.runs.value);
      if (before && !runs.some(({ name }) => name === before)) showError(text("run_gone", { run: before }), text("run_gone_why"));
    } catch (error) {
      this.version = null;
      if (!quiet) this.clear();
      this.say(error.message, true);
    }
  }

  /** Hide what there is to do with a run, and where to learn of it. */
  offerNothing() {
    for (const part of [this.teach, this.variants.element, ...this.deeds.children]) part.hidden = true;
  }

  clear() {
    this.run = null;
    this.viewer.element.close();
    this.grid.clear();
    this.refused.hidden = true;
    this.offerNothing();
    this.configs.replaceChildren();
    this.slider.disabled = true;
    this.at.textContent = "";
  }

  async showRun(name, quiet = false) {
    const asked = ++this.asked;
    keep({ run: name });
    this.runs.title = name; // narrow tabs cut it
    if (!quiet) {
      this.clear();
      this.say(text("looking_samples"));
    }
    try {
      const run = await fetchJson(`/eridiffusion/runs/${runPath(name)}`);
      if (asked === this.asked) this.show(run);
    } catch (error) {
      if (asked !== this.asked) return;
      if (!quiet || error.status !== 0) this.clear(); // what is shown stays while ComfyUI is away
      this.say(error.message, true);
    }
  }

  /** Have ComfyUI remember with the run which config is its; "" has it look for one again. */
  chooseConfig(file) {
    if (file && file === this.run?.config) return;
    this.keepConfig((run) => keepWithRun("config", run, file ? { file } : {}));
  }

  /** Remember a config with the run that is shown: `kept(name)` does so. */
  async keepConfig(kept) {
    try {
      await kept(this.runs.value);
    } catch (error) {
      if (!(error instanceof RouteError)) throw error;
      showError(text("not_its_config"), error.message);
    }
    await this.showRun(this.runs.value);
  }

  /** A config that was chosen, perhaps with the files that it names. */
  upload() {
    const files = [...this.file.files];
    this.file.value = "";
    if (files.length > 0) this.keepConfig((run) => keepChosen(run, files));
  }

  listConfigs({ configs, config = "", config_from: from }) {
    const pairs = configs.map((name) => [name, name]);
    if (!from) pairs.unshift(["", text("none_known")]);
    if (from === "remembered" && !configs.includes(config)) pairs.unshift([config, text("remembered", { config })]);
    if (from === "pictures") pairs.unshift(["", text("from_pictures")]);
    else if (from === "remembered") pairs.push(["", text("found_in_run")]);
    setOptions(this.configs, pairs);
    this.configs.value = this.configs.title = config;
  }

  listRefused(files) {
    this.refused.hidden = files.length === 0;
    this.refused.replaceChildren(make("summary", { textContent: text("refused", { count: files.length }) }),
      ...files.map(({ reason }) => make("p", { className: "eri-note", textContent: reason })));
  }

  show(run) {
    const atEnd = !this.run?.spec || Number(this.slider.value) === this.steps.length - 1;
    const at = atEnd ? null : this.steps[Number(this.slider.value)];
    this.run = run;
    this.listConfigs(run);
    const noConfigs = run.unreadable.filter(({ kind }) => !KEPT_KINDS.includes(kind));
    const wrong = [run.problem, ...run.unreadable.filter((file) => !noConfigs.includes(file)).map(({ reason }) => reason)].filter(Boolean);
    this.listRefused(noConfigs);
    this.offerNothing();
    for (const part of this.ofGrid) part.hidden = !run.spec;
    if (!run.spec) {
      this.grid.clear();
      this.teach.hidden = false;
      const broken = noConfigs.find(({ kind }) => kind !== "not_config");
      if (broken) wrong.push(text("config_broken", broken));
      return this.say([...wrong, text("no_config")].join("\n"), wrong.length > 0);
    }
    run = this.run = { ...this.variants.of(this.found = run), items: captioned(text, run.spec.items) };
    const shown = this.steps?.join();
    this.steps = [...new Set([0, ...run.steps, ...[...run.samples, ...run.theirs].map(({ step }) => step)])].sort((a, b) => a - b);
    const counts = { made: run.samples.length, count: run.spec.items.length * this.steps.length };
    const unknown = run.unknown ? ` ${text("unknown_steps", { count: run.unknown })}` : "";
    const open = this.missing(null, null).length;
    this.makeAll.hidden = open === 0;
    this.sweep.hidden = run.steps.length === 0;
    this.write.hidden = run.samples.length === 0 && maker.done === 0;
    this.compareBlind.hidden = run.samples.length < 2;
    this.makeAll.textContent = text("make_run", { count: open });
    this.say([...wrong, text("made_of", counts) + unknown].join("\n"), wrong.length > 0);
    const follow = !this.grid.table || (atEnd && this.grid.isAtEnd() && shown !== this.steps.join());
    this.grid.show(run.items, this.steps, run);
    this.slider.disabled = false;
    this.slider.max = String(this.steps.length - 1);
    this.slider.value = String(at === null ? this.steps.length - 1 : Math.max(0, this.steps.indexOf(at)));
    this.markStep(follow);
    const { step } = this.viewer.isOpen ? this.viewer : {};
    this.source.show(run, this.steps);
    this.viewer.refresh(step);
  }

  /** Show which column the slider is at. */
  markStep(scroll) {
    const at = Number(this.slider.value);
    this.at.textContent = String(this.steps[at]);
    this.slider.setAttribute("aria-valuetext", text("at_step", { step: this.steps[at] }));
    this.grid.mark(at, scroll);
  }

  async openGraph(item, step) {
    const { name, spec } = this.run;
    this.viewer.element.close();
    try {
      // The resolved spec is a config too, which names no further file.
      const { ui } = await postGraph({ config: JSON.stringify(spec), source: `${spec.name}.json`, items: String(item.index), run: name, step });
      await openGraph(ui, text("graph_name", { run: spec.name, step, item: item.index }));
    } catch (error) {
      showError(text("no_graph"), error.message);
    }
  }

  /** Compare the run's samples without knowing their steps; votes are kept beside its checkpoints. */
  openBlind() {
    const path = `/eridiffusion/run-votes/${runPath(this.run.name)}`;
    this.blind?.remove();
    this.blind = new Blind(this.source.blind(this.run.spec.name, {
      votes: async () => (await fetchJson(path)).votes,
      vote: (vote) => postJson(path, vote),
      ranking: async () => (await fetchJson(path)).ranking,
    }));
    this.blind.open();
  }

  /** What can be made and is not there: of a prompt (step null), of a step (item null), of one cell, of the whole run. */
  missing(item, step) {
    const { name, spec, samples, steps, chosen } = this.run;
    if (chosen.key !== "") return []; // that is a sweep's work
    const there = new Set(samples.map((sample) => `${sample.step}/${sample.item}`));
    const able = [...new Set([0, ...steps])].filter((one) => step === null || one === step);
    const items = item === null ? spec.items : [item];
    return able.flatMap((one) => items.map((each) => ({ run: name, spec, item: each, step: one })))
      .filter((cell) => !there.has(`${cell.step}/${cell.item.index}`));
  }

  makeMissing(item, step) {
    const cells = this.missing(item, step);
    if (cells.length > 0) maker.add(cells);
    else this.say(text("nothing_missing"));
  }

  mark(item, step, mark) {
    return this.keepOf(this.run.name, "marks", { step, item: item.index, mark }, text("not_marked"));
  }

  /** Keep a mark or a note with a run, and show that it is. */
  async keepOf(run, what, body, problem) {
    try {
      await keepWithRun(what, run, body);
    } catch (error) {
      if (!(error instanceof RouteError)) throw error;
      showError(problem, error.message);
    }
    if (this.run?.name === run) await this.showRun(run, true);
  }
}

/** ComfyUI takes these keys, pressed outside of its fields, as meant for the nodes that are selected. */
function keepFromCanvas(event) {
  if (event.key === "Delete" || event.key === "Backspace") event.stopPropagation();
}

let tab = null;

app.registerExtension({
  name: "eridiffusion.sidebar",
  setup() {
    const styles = ["sidebar.css", "grid.css", "viewer.css", "blind.css"].map((name) => new URL(`./${name}`, import.meta.url).href);
    document.head.append(...styles.map((href) => make("link", { rel: "stylesheet", href })));
    app.extensionManager.registerSidebarTab({
      id: ID,
      icon: "pi pi-images",
      title: text("runs"),
      tooltip: text("runs_tooltip"),
      type: "custom",
      render(root) {
        tab?.dispose(); // the front end may render again without destroying before
        tab = new RunsTab(root);
        tab.load();
      },
      destroy() {
        tab?.dispose();
        tab = null;
      },
    });
  },
});

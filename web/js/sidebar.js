// The sidebar tab "Training runs": a run's prompts by its steps; a cell opens the graph of that prompt and step.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { Grid, make } from "./grid.js";
import { fetchJson, openGraph, postGraph, RouteError, showError } from "./lib.js";
import { text } from "./strings.js";

const ID = "eridiffusion-runs";
const KEPT = "eridiffusion.sidebar";
const SUFFIXES = ".yaml,.yml,.json,.jsonc,.toml,.txt,.env,.sh,.bat,.cmd,.ps1";
/** After these ComfyUI may have new samples. It tells every page of its queue, and of nodes only the page that asked. */
const EVENTS = ["executed", "execution_success", "status", "reconnected"];
/** Least time between two looks that nobody asked for, in milliseconds. */
const PAUSE = 1500;
/** Time between two questions whether there are other checkpoints, which have no event, in milliseconds. */
const QUESTION = 5000;

function readKept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}") ?? {};
  } catch {
    return {}; // Written by something else; what was chosen before is asked for again.
  }
}

function keep(changes) {
  localStorage.setItem(KEPT, JSON.stringify({ ...readKept(), ...changes }));
}

/** Fill a list with [value, label] pairs; one that says so already is left alone, as it may be open. */
function setOptions(select, pairs) {
  const shown = [...select.options].map(({ value, textContent }) => [value, textContent]);
  if (JSON.stringify(shown) === JSON.stringify(pairs)) return;
  select.replaceChildren(...pairs.map(([value, label]) => make("option", { value, textContent: label })));
}

/** The tab's contents. `asked` tells a late answer for an earlier choice from the present one. */
class RunsTab {
  constructor(root) {
    this.asked = 0;
    this.run = null;
    this.grid = new Grid((item, step) => this.open(item, step));
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
    this.grid.dispose();
  }

  build(root) {
    this.runs = make("select", { id: "eri-run", onchange: () => this.showRun(this.runs.value) });
    this.configs = make("select", { id: "eri-config", onchange: () => this.chooseConfig(this.configs.value) });
    this.file = make("input", { type: "file", accept: SUFFIXES, hidden: true, onchange: () => this.upload() });
    this.slider = make("input", { type: "range", id: "eri-step", min: "0", step: "1", oninput: () => this.mark(true) });
    this.at = make("output", { htmlFor: "eri-step" });
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
    const browse = make("button", { className: "eri-plain", type: "button", textContent: text("choose"), onclick: () => this.file.click() });
    const bar = (...children) => make("div", { className: "eri-bar" }, ...children);
    const label = (target, key) => make("label", { htmlFor: target.id, textContent: text(key) });
    root.style.height = "100%"; // the front end's element is as high as its content, which here is to scroll in itself
    root.replaceChildren(make("div", { className: "eri-runs", onkeydown: keepFromCanvas },
      bar(make("h2", { textContent: text("runs") }), refresh),
      bar(label(this.runs, "run"), this.runs),
      bar(label(this.configs, "config"), this.configs, browse, this.file),
      bar(label(this.slider, "step"), this.slider, this.at),
      this.note, this.refused, this.grid.element));
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
      const label = ({ name, steps, error }) =>
        error ? text("run_unreadable", { run: name }) : text("run_steps", { run: name, count: steps.length });
      setOptions(this.runs, runs.map((run) => [run.name, label(run)]));
      if (!runs.length) {
        this.clear();
        return this.say(text("no_runs"));
      }
      const last = readKept().run;
      this.runs.value = runs.some(({ name }) => name === last) ? last : runs[0].name;
      await this.showRun(this.runs.value, quiet && this.run?.name === this.runs.value);
    } catch (error) {
      this.version = null;
      this.clear();
      this.say(error.message, true);
    }
  }

  clear() {
    this.run = null;
    this.grid.clear();
    this.refused.hidden = true;
    this.configs.replaceChildren();
    this.slider.disabled = true;
    this.at.textContent = "";
  }

  async showRun(name, quiet = false) {
    const asked = ++this.asked;
    keep({ run: name });
    const config = readKept().configs?.[name] ?? "";
    if (!quiet) {
      this.clear();
      this.say(text("looking_samples"));
    }
    const path = `/eridiffusion/runs/${name.split("/").map(encodeURIComponent).join("/")}`;
    try {
      const run = await fetchJson(config ? `${path}?config=${encodeURIComponent(config)}` : path);
      if (asked === this.asked) this.show(run);
    } catch (error) {
      if (asked !== this.asked) return;
      this.clear();
      this.say(error.message, true);
      // A config chosen earlier that is gone or broken must not hide the run: the empty choice takes the run's own.
      if (config) this.listConfigs([config, ""], config);
    }
  }

  chooseConfig(config) {
    keep({ configs: { ...readKept().configs, [this.runs.value]: config } });
    return this.showRun(this.runs.value);
  }

  /** The chosen file goes into ComfyUI's input folder, where graphs may read it. */
  async upload() {
    const file = this.file.files[0];
    this.file.value = "";
    if (!file) return;
    const body = new FormData();
    body.append("image", file, file.name);
    body.append("subfolder", "eridiffusion");
    try {
      const { name, subfolder } = await fetchJson("/upload/image", { method: "POST", body });
      await this.chooseConfig(subfolder ? `${subfolder}/${name}` : name);
    } catch (error) {
      showError(text("not_stored"), error.message);
    }
  }

  listConfigs(names, chosen) {
    const all = [...new Set(chosen ? [chosen, ...names] : names)];
    setOptions(this.configs, all.map((name) => [name, name || text("found_in_run")]));
    this.configs.value = chosen;
  }

  listRefused(files) {
    this.refused.hidden = files.length === 0;
    this.refused.replaceChildren(make("summary", { textContent: text("refused", { count: files.length }) }),
      ...files.map(({ file, reason }) => make("p", { className: "eri-note", textContent: `${file}: ${reason}` })));
  }

  show(run) {
    const atEnd = !this.run?.spec || Number(this.slider.value) === this.steps.length - 1;
    const at = atEnd ? null : this.steps[Number(this.slider.value)];
    this.run = run;
    this.listConfigs(run.configs, run.config ?? "");
    this.listRefused(run.unreadable);
    if (!run.spec) {
      this.grid.clear();
      return this.say(text("no_config"));
    }
    const shown = this.steps?.join();
    this.steps = [...new Set([0, ...run.steps, ...run.samples.map(({ step }) => step)])].sort((a, b) => a - b);
    const counts = { made: run.samples.length, count: run.spec.items.length * this.steps.length };
    const unknown = run.unknown ? ` ${text("unknown_steps", { count: run.unknown })}` : "";
    this.say(text("made_of", counts) + unknown);
    const follow = !this.grid.table || (atEnd && this.grid.isAtEnd() && shown !== this.steps.join());
    this.grid.show(run.spec.items, this.steps, run.samples);
    this.slider.disabled = false;
    this.slider.max = String(this.steps.length - 1);
    this.slider.value = String(at === null ? this.steps.length - 1 : Math.max(0, this.steps.indexOf(at)));
    this.mark(follow);
  }

  /** Show which column the slider is at. */
  mark(scroll) {
    const at = Number(this.slider.value);
    this.at.textContent = String(this.steps[at]);
    this.slider.setAttribute("aria-valuetext", text("at_step", { step: this.steps[at] }));
    this.grid.mark(at, scroll);
  }

  async open(item, step) {
    const { name, spec } = this.run;
    try {
      // The resolved spec is a config too, which names no further file.
      const { ui } = await postGraph({ config: JSON.stringify(spec), source: `${spec.name}.json`, items: String(item.index), run: name, step });
      await openGraph(ui, text("graph_name", { run: spec.name, step, item: item.index }));
    } catch (error) {
      showError(text("no_graph"), error.message);
    }
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
    document.head.append(make("link", { rel: "stylesheet", href: new URL("./sidebar.css", import.meta.url).href }));
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

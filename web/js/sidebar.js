// The sidebar tab "Training runs": a run's prompts by its steps; a cell opens the graph of that prompt and step.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { fetchJson, openGraph, postGraph, showError } from "./lib.js";

const ID = "eridiffusion-runs";
const KEPT = "eridiffusion.sidebar";
const SUFFIXES = ".yaml,.yml,.json,.jsonc,.toml,.txt";

/** An element with properties and children; names and prompts only ever become text nodes. */
function make(tag, properties = {}, ...children) {
  const { attributes = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

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

/** The tab's contents. `asked` tells a late answer for an earlier choice from the present one. */
class RunsTab {
  constructor(root) {
    this.asked = 0;
    this.runs = make("select", { id: "eri-run", onchange: () => this.showRun(this.runs.value) });
    this.configs = make("select", { id: "eri-config", onchange: () => this.chooseConfig(this.configs.value) });
    this.file = make("input", { type: "file", accept: SUFFIXES, hidden: true, onchange: () => this.upload() });
    this.slider = make("input", { type: "range", id: "eri-step", min: "0", step: "1", oninput: () => this.mark(true) });
    this.at = make("output", { htmlFor: "eri-step" });
    this.note = make("p", { className: "eri-note", attributes: { role: "status" } });
    this.refused = make("div");
    this.grid = make("div", { className: "eri-scroll" });
    const icon = make("i", { className: "pi pi-refresh", attributes: { "aria-hidden": "true" } });
    const refresh = make("button", { className: "eri-plain", title: "Look again", type: "button", onclick: () => this.load() }, icon);
    refresh.setAttribute("aria-label", "Look again");
    const browse = make("button", { className: "eri-plain", type: "button", textContent: "Choose…", onclick: () => this.file.click() });
    const label = (target, text) => make("label", { htmlFor: target.id, textContent: text });
    root.replaceChildren(
      make("div", { className: "eri-runs" },
        make("div", { className: "eri-bar" }, make("h2", { textContent: "Training runs" }), refresh),
        make("div", { className: "eri-bar" }, label(this.runs, "Run"), this.runs),
        make("div", { className: "eri-bar" }, label(this.configs, "Config"), this.configs, browse, this.file),
        make("div", { className: "eri-bar" }, label(this.slider, "Step"), this.slider, this.at),
        this.note, this.refused, this.grid),
    );
  }

  say(text, bad = false) {
    this.note.textContent = text;
    this.note.classList.toggle("eri-bad", bad);
  }

  async load() {
    this.say("Looking for runs…");
    try {
      const { runs } = await fetchJson("/eridiffusion/runs");
      this.runs.replaceChildren(...runs.map(({ name, steps, error }) =>
        make("option", { value: name, textContent: error ? `${name} (unreadable)` : `${name} (${steps.length})` })));
      if (!runs.length) {
        this.clear();
        return this.say("No runs. Put a run's folder below models/loras, or list it under eri_runs in extra_model_paths.yaml.");
      }
      const last = readKept().run;
      this.runs.value = runs.some(({ name }) => name === last) ? last : runs[0].name;
      await this.showRun(this.runs.value);
    } catch (error) {
      this.clear();
      this.say(error.message, true);
    }
  }

  clear() {
    this.run = null;
    this.grid.replaceChildren();
    this.refused.replaceChildren();
    this.configs.replaceChildren();
    this.slider.disabled = true;
    this.at.textContent = "";
  }

  async showRun(name) {
    const asked = ++this.asked;
    keep({ run: name });
    const config = readKept().configs?.[name] ?? "";
    this.clear();
    this.say("Looking for samples…");
    const path = `/eridiffusion/runs/${name.split("/").map(encodeURIComponent).join("/")}`;
    try {
      const run = await fetchJson(config ? `${path}?config=${encodeURIComponent(config)}` : path);
      if (asked === this.asked) this.show(run);
    } catch (error) {
      if (asked !== this.asked) return;
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
      const answer = await api.fetchApi("/upload/image", { method: "POST", body });
      if (!answer.ok) throw new Error(`ComfyUI answered ${answer.status} ${answer.statusText} to the file ${file.name}.`);
      const { name, subfolder } = await answer.json();
      await this.chooseConfig(subfolder ? `${subfolder}/${name}` : name);
    } catch (error) {
      showError("Config not stored", error.message);
    }
  }

  listConfigs(names, chosen) {
    const all = [...new Set(chosen ? [chosen, ...names] : names)];
    this.configs.replaceChildren(...all.map((name) => make("option", { value: name, textContent: name || "Found in the run's folder" })));
    this.configs.value = chosen;
  }

  show(run) {
    this.run = run;
    const made = new Set((run.samples ?? []).map(({ step }) => step));
    this.steps = [...new Set([0, ...run.steps, ...made])].sort((a, b) => a - b);
    this.listConfigs(run.configs, run.config ?? "");
    if (run.unreadable.length) {
      this.refused.replaceChildren(make("details", {}, make("summary", { textContent: `${run.unreadable.length} ${run.unreadable.length === 1 ? "file is" : "files are"} no config` }),
        ...run.unreadable.map(({ file, reason }) => make("p", { className: "eri-note", textContent: `${file}: ${reason}` }))));
    }
    if (!run.spec) return this.say("No config lies in this run's folder. Choose the config that it was trained with.");
    const count = run.spec.items.length * this.steps.length;
    const unknown = run.unknown ? ` ${run.unknown} checkpoints have no step.` : "";
    this.say(`${run.samples.length} of ${count} samples made.${unknown}`);
    this.slider.disabled = false;
    this.slider.max = String(this.steps.length - 1);
    this.slider.value = this.slider.max;
    this.fill();
    this.mark(true);
  }

  fill() {
    const urls = new Map(this.run.samples.map(({ step, item, url }) => [`${step}/${item}`, url]));
    const head = make("tr", {}, make("th", { textContent: "Prompt", scope: "col" }),
      ...this.steps.map((step) => make("th", { textContent: String(step), scope: "col" })));
    const rows = this.run.spec.items.map((item, row) => make("tr", {},
      make("th", { scope: "row", title: item.prompt }, make("span", { textContent: item.prompt })),
      ...this.steps.map((step, column) => make("td", {}, this.cell(item, step, urls.get(`${step}/${item.index}`), row, column)))));
    this.table = make("table", { onkeydown: (event) => this.move(event) }, make("thead", {}, head), make("tbody", {}, ...rows));
    this.table.setAttribute("aria-label", "Prompts by steps");
    this.grid.replaceChildren(this.table);
  }

  cell(item, step, url, row, column) {
    const button = make("button", { type: "button", tabIndex: row || column ? -1 : 0, title: `Open the graph: step ${step}`, onclick: () => this.open(item, step) });
    button.setAttribute("aria-label", `${item.prompt}, step ${step}, ${url ? "made" : "not made yet"}`);
    button.append(url ? make("img", { loading: "lazy", alt: "", src: api.apiURL(`${url}&preview=webp;70`) }) : "–");
    return button;
  }

  /** Show which column the slider is at. */
  mark(scroll) {
    const at = Number(this.slider.value);
    this.at.textContent = String(this.steps[at]);
    this.slider.setAttribute("aria-valuetext", `step ${this.steps[at]}`);
    for (const row of this.table.rows) {
      row.querySelector(".eri-at")?.classList.remove("eri-at");
      row.cells[at + 1].classList.add("eri-at");
    }
    const cell = this.table.rows[0].cells[at + 1];
    if (scroll) this.grid.scrollLeft = cell.offsetLeft - this.grid.clientWidth / 2;
  }

  move(event) {
    const change = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest("td");
    if (!change || !cell) return;
    const next = this.table.rows[cell.parentElement.rowIndex + change[0]]?.cells[cell.cellIndex + change[1]]?.querySelector("button");
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    event.target.closest("button").tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  async open(item, step) {
    const { name, spec } = this.run;
    try {
      // The resolved spec is a config too, which names no further file.
      const { ui } = await postGraph({ config: JSON.stringify(spec), source: `${spec.name}.json`, items: String(item.index), run: name, step });
      await openGraph(ui, `${spec.name} step ${step} sample ${item.index}`);
    } catch (error) {
      showError("No graph for this cell", error.message);
    }
  }
}

app.registerExtension({
  name: "eridiffusion.sidebar",
  setup() {
    document.head.append(make("link", { rel: "stylesheet", href: new URL("./sidebar.css", import.meta.url).href }));
    app.extensionManager.registerSidebarTab({
      id: ID,
      icon: "pi pi-images",
      title: "Training runs",
      tooltip: "Training runs: prompts by steps",
      type: "custom",
      render: (root) => new RunsTab(root).load(),
    });
  },
});

// The question which samples of a run a sweep makes: training steps × values of further settings. ComfyUI plans it, and
// what it lacks is made one by one, as everything that is missing.

import { make } from "./dom.js";
import { postJson, RouteError, runPath } from "./lib.js";
import { maker } from "./maker.js";
import { text } from "./strings.js";

/** Name, label, value and hint of each field: the steps, then the axes. */
const fields = () => [
  ["steps", text("sweep_steps"), "all", "all"],
  ["strength", text("sweep_strength"), "", text("sweep_hint_strength")],
  ["seed", text("sweep_seed"), "", text("sweep_hint_seed")],
  ["cfg", text("sweep_cfg"), "", text("sweep_hint_cfg")],
  ["guidance", text("sweep_guidance"), "", text("sweep_hint_guidance")],
  ["sampler", text("sweep_sampler"), "", text("sweep_hint_sampler")],
];
/** Time without a key after which a plan is asked for, in milliseconds. */
const PAUSE = 300;

class Sweep {
  constructor(run) {
    this.run = run;
    this.asked = 0;
    this.cells = [];
    const asked = fields();
    this.fields = asked.map(([name, , value, hint]) => make("input", { name, value, placeholder: hint, autocomplete: "off", spellcheck: false }));
    const rows = this.fields.map((input, at) => make("label", {}, make("span", {}, asked[at][1]), input));
    this.told = make("p", { attributes: { role: "status" } });
    this.start = make("button", { type: "submit", value: "start" }, text("sweep_start"));
    const cancel = make("button", { type: "submit", value: "" }, text("cancel"));
    const form = make("form", { method: "dialog", oninput: () => this.soon() }, ...rows, this.told, make("div", {}, this.start, cancel));
    this.element = make("dialog", { className: "eri-sweep", ariaLabel: text("sweep"), onkeydown: (event) => event.stopPropagation() },
      make("h2", {}, text("sweep_of", { run: run.name })), make("p", {}, text("sweep_help")), form);
    this.element.addEventListener("close", () => this.closed());
    document.body.append(this.element);
    this.element.showModal();
    this.plan();
  }

  soon() {
    this.start.disabled = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.plan(), PAUSE);
  }

  async plan() {
    const asked = ++this.asked;
    const given = Object.fromEntries(this.fields.map(({ name, value }) => [name, value.trim()]));
    const { steps, ...values } = given;
    const axes = Object.fromEntries(Object.entries(values).filter(([, value]) => value));
    this.start.disabled = true;
    let [said, failed] = ["", false];
    try {
      const found = await postJson(`/eridiffusion/run-sweep/${runPath(this.run.name)}`, { steps, axes });
      if (asked !== this.asked) return;
      const items = new Map(this.run.spec.items.map((item) => [item.index, item]));
      this.cells = found.cells.map(({ variant, step, item }) => ({
        run: this.run.name, spec: this.run.spec, item: items.get(item), step, axes: found.variants[variant].axes,
      }));
      said = this.sentence(found);
      this.start.disabled = this.cells.length === 0;
    } catch (error) {
      if (!(error instanceof RouteError)) throw error;
      if (asked !== this.asked) return;
      [said, failed] = [error.message, true];
    }
    this.told.textContent = said;
    this.told.classList.toggle("eri-bad", failed);
  }

  /** What a plan comes to, and how long that takes by the pictures that were made while the page is open. */
  sentence({ variants, steps, there }) {
    const counts = { count: this.cells.length, variants: variants.length, steps: steps.length, there };
    const minutes = maker.minutesFor(this.cells.length);
    return `${text("sweep_plan", counts)} ${minutes === null ? text("sweep_time_open") : text("sweep_time", { minutes })}`;
  }

  closed() {
    clearTimeout(this.timer);
    this.asked += 1;
    this.element.remove();
    if (this.element.returnValue === "start" && this.cells.length > 0) maker.add(this.cells);
  }
}

/** Ask for a sweep of this run, the route's answer, and begin it. */
export const openSweep = (run) => new Sweep(run);

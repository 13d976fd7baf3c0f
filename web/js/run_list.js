// The sidebar's list of runs: by date or by name, those whose names hold what is searched for, with favourites or all.

import { make, setOptions } from "./dom.js";
import { readKept } from "./kept.js";
import { text } from "./strings.js";

export class RunList {
  /** `show(name)` shows another run; `again()` asks ComfyUI for the runs, and promises that they are listed. */
  constructor(show, again) {
    this.show = show;
    this.found = []; // name, label and favourites of all runs, the newest first
    this.choice = make("select", { id: "eri-run", onchange: () => show(this.choice.value) });
    this.search = make("input", {
      type: "search",
      placeholder: text("search"),
      attributes: { "aria-label": text("search") },
      oninput: () => this.list(),
      onchange: () => this.searched(),
    });
    this.order = make("select", { attributes: { "aria-label": text("order") }, onchange: () => this.list() });
    setOptions(this.order, [["newest", text("order_newest")], ["name", text("order_name")]]);
    this.which = make("select", { attributes: { "aria-label": text("which") }, onchange: () => again().then(() => this.searched()) });
    setOptions(this.which, [["all", text("all_runs")], ["favourites", text("with_favourites")]]);
    this.told = make("p", { className: "eri-note", attributes: { role: "status" } });
  }

  /** List the runs of the route's answer; the one that was shown last is chosen, else the newest. */
  take(runs) {
    const label = ({ name, steps, error }) =>
      error ? text("run_unreadable", { run: name }) : text("run_steps", { run: name, count: steps.length });
    this.found = runs.map((run) => ({ name: run.name, label: label(run), favourites: run.favourites ?? 0 }));
    const last = readKept().run;
    this.list(runs.some(({ name }) => name === last) ? last : (runs[0]?.name ?? ""));
  }

  /** List the runs that are wanted, and the chosen one. */
  list(chosen = this.choice.value) {
    const wanted = new Set(this.wanted());
    const shown = this.found.filter((run) => run.name === chosen || wanted.has(run));
    if (this.order.value === "name") shown.sort((one, other) => one.name.localeCompare(other.name));
    setOptions(this.choice, shown.map(({ name, label }) => [name, label]));
    this.choice.value = chosen;
    this.told.textContent = this.search.value.trim() || this.which.value !== "all" ? text("runs_found", { count: wanted.size }) : "";
    this.told.hidden = this.told.textContent === "";
  }

  /** The runs whose names hold what is searched for, with favourites where only these are wanted. */
  wanted() {
    const wanted = this.search.value.trim().toLowerCase();
    return this.found.filter(({ name, favourites }) => name.toLowerCase().includes(wanted) && (favourites > 0 || this.which.value === "all"));
  }

  /** Show the newest run that was found, unless the chosen one is among those. */
  searched() {
    const found = this.wanted();
    if (found.length === 0 || found.some(({ name }) => name === this.choice.value)) return;
    this.choice.value = found[0].name;
    this.show(this.choice.value);
  }
}

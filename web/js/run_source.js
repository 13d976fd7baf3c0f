// A run of this ComfyUI as the viewer's source (see viewer.js): the route's answer, and what can be done with a sample.

import { api } from "../../../scripts/api.js";
import { text } from "./strings.js";
import { markSwitches, nameOfStep } from "./viewer.js";

const keyOf = (step, item) => `${step}/${item}`;
const byCell = (entries) => new Map(entries.map((entry) => [keyOf(entry.step, entry.item), entry]));
const address = ({ url, version }) => api.apiURL(`${url}&version=${version}`);

/** The URL of a small copy of a sample that the route named. */
export function thumbnail({ url, version }, size) {
  return api.apiURL(`/eridiffusion/thumbnail?${url.slice(url.indexOf("?") + 1)}&version=${version}&size=${size}`);
}

export class RunSource {
  /** `deeds`: what the buttons do, each for (item, step): verdict, openGraph, missing, make, mark, note, left;
   * isMaking, doing, stop: of what is being made. */
  constructor(deeds) {
    this.deeds = deeds;
    this.text = text;
    this.show({ name: "", items: [], samples: [], theirs: [], marks: [], notes: [], choices: [], chosen: null }, []);
  }

  /** Take the route's answer, and the steps of the grid. */
  show(run, steps) {
    this.name = run.name;
    this.items = run.items;
    this.steps = steps;
    this.chosen = run.chosen;
    this.choices = run.choices.map(({ key, title, samples }) => ({ key, title, samples: byCell(samples) }));
    [this.samples, this.own, this.marks, this.notes] = [run.samples, run.theirs, run.marks, run.notes].map(byCell);
  }

  ours(item, step) {
    const sample = this.samples.get(keyOf(step, item.index));
    return sample ? address(sample) : null;
  }

  theirs(item, step) {
    const sample = this.own.get(keyOf(step, item.index));
    return sample ? { url: address(sample), problem: sample.problem } : null;
  }

  verdict(item, step, wanted = () => true) {
    const key = keyOf(step, item.index);
    const [ours, theirs] = [this.samples.get(key), this.own.get(key)];
    return ours && theirs && !theirs.problem ? this.deeds.verdict(this.name, ours, theirs, wanted) : null; // one may have gone meanwhile
  }

  /** The same sample under other settings. */
  others(item, step) {
    return this.choices.filter(({ key, samples }) => key !== this.chosen.key && samples.has(keyOf(step, item.index)))
      .map(({ key, title, samples }) => ({ value: `=${key}`, label: title, url: address(samples.get(keyOf(step, item.index))) }));
  }

  /** What can be done with a sample; one under further settings is only looked at. */
  actions(item, step) {
    const { deeds } = this;
    if (this.chosen.key !== "") return [];
    const mark = this.marks.get(keyOf(step, item.index))?.mark ?? null;
    const open = { one: deeds.missing(item, step).length, row: deeds.missing(item, null).length, column: deeds.missing(null, step).length };
    const offered = [{ label: text("open_graph"), run: () => deeds.openGraph(item, step) }];
    if (open.one > 0) offered.push({ label: text("make_one"), run: () => deeds.make(item, step) });
    if (open.row > open.one) offered.push({ label: text("make_prompt_count", { count: open.row }), run: () => deeds.make(item, null) });
    if (open.column > open.one) offered.push({ label: text("make_step_count", { step, count: open.column }), run: () => deeds.make(null, step) });
    offered.push(...markSwitches(text, mark, (kept) => deeds.mark(item, step, kept)));
    if (deeds.isMaking()) offered.push({ label: text("stop"), run: () => deeds.stop() }); // last: the focus is on no other when it goes
    return offered;
  }

  note(item, step) {
    const { name } = this;
    if (this.chosen.key !== "") return null;
    return { text: this.notes.get(keyOf(step, item.index))?.note ?? "", keep: (note) => this.deeds.note(name, item, step, note) };
  }

  /** The run as the source of a blind comparison (see blind.js). `deeds`: votes, vote and ranking there. */
  blind(name, deeds) {
    const made = this.steps.filter((step) => this.items.some((item) => this.ours(item, step)));
    const candidates = made.map((step) => ({ step, axes: this.chosen.axes, label: nameOfStep(text, step) }));
    const tasks = this.items.filter(({ seed }) => seed !== null)
      .map((item) => ({ item: item.index, seed: item.seed, prompt: item.caption, urls: made.map((step) => this.ours(item, step)) }));
    return { text, name, candidates, tasks, ...deeds };
  }

  doing() {
    return this.deeds.doing();
  }

  left(item, step) {
    this.deeds.left(item, step);
  }
}

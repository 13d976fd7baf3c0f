// Makes missing samples one after the other. Only one of them is in ComfyUI's queue at a time, at its end: whatever a
// person queues meanwhile runs before the next. It goes on while the tab is closed, and ends with the page.

import { api } from "../../../scripts/api.js";
import { fetchJson, postJson, RouteError } from "./lib.js";
import { text } from "./strings.js";

/** Longest time for one answer on what became of a sample, in seconds. */
const WAIT = 20;

class Maker extends EventTarget {
  wanted = []; // {run, spec, item, step, axes}, those that wait; axes: of a sweep's variant
  running = null; // prompt id
  done = 0;
  total = 0;
  failure = ""; // why it ended early
  took = []; // seconds of the pictures that were made since the page was opened

  /** Whether anything is being made. */
  get busy() {
    return this.work !== undefined;
  }

  /** Minutes that so many pictures take, by the middle of those before; null where there were none. */
  minutesFor(count) {
    if (this.took.length === 0) return null;
    const middle = [...this.took].sort((a, b) => a - b)[this.took.length >> 1];
    return Math.max(1, Math.round((count * middle) / 60));
  }

  /** Whether somebody stopped it, and what is in ComfyUI's queue is still on its way out. */
  get stopping() {
    return this.busy && this.wanted.length === 0;
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }

  /** Make these too; cells that wait already are not made twice. */
  add(cells) {
    const keyOf = ({ run, item, step, axes = {} }) => `${step}/${item.index}/${JSON.stringify(axes)}/${run}`;
    const waiting = new Set(this.wanted.map(keyOf));
    const fresh = cells.filter((cell) => !waiting.has(keyOf(cell)));
    if (!this.busy) [this.done, this.total, this.failure] = [0, 0, ""];
    this.wanted.push(...fresh);
    this.total = this.done + this.wanted.length; // those that somebody stopped before do not count
    this.work ??= this.makeAll().finally(() => {
      this.work = undefined;
      this.tell();
    });
    this.tell();
  }

  async makeAll() {
    try {
      while (this.wanted.length > 0) {
        await this.makeOne(this.wanted[0]);
        this.tell();
      }
    } catch (error) {
      if (!(error instanceof RouteError)) console.error(error);
      this.failure = error.message;
      this.wanted = [];
    } finally {
      this.running = null;
    }
  }

  async makeOne(cell) {
    const { run, spec, item, step, axes = {} } = cell;
    const begun = performance.now();
    // Without client_id: the front end would take its nodes for those that are on the canvas.
    const body = { config: JSON.stringify(spec), source: `${spec.name}.json`, items: String(item.index), run, step, axes };
    const { prompt_id: id, result } = await postJson("/eridiffusion/queue", body);
    this.running = id;
    if (!this.wanted.includes(cell)) await this.takeBack(id); // stopped while ComfyUI answered
    let state;
    do {
      state = await fetchJson(`${result}?wait=${WAIT}`);
    } while (["queued", "running"].includes(state.status));
    this.running = null;
    if (!this.wanted.includes(cell)) return; // stopped
    if (state.status !== "done") throw new Error(state.error?.message ?? text("making_interrupted"));
    this.wanted.splice(this.wanted.indexOf(cell), 1);
    this.done += 1;
    this.took.push((performance.now() - begun) / 1000);
  }

  /** Make no more. What is finished stays; nothing but the own sample is interrupted. */
  async stop() {
    this.wanted = [];
    this.tell();
    if (this.running !== null) await this.takeBack(this.running);
  }

  async takeBack(id) {
    // ComfyUI's own routes answer with an empty body.
    const post = (path, body) => api.fetchApi(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    await post("/queue", { delete: [id] });
    if ((await this.stateOf(id)) === "running") await post("/interrupt", { prompt_id: id });
  }

  async stateOf(id) {
    try {
      return (await fetchJson(`/eridiffusion/prompts/${id}`)).status;
    } catch (error) {
      if (error.kind === "unknown_prompt") return "gone"; // it was waiting, and is out of the queue now
      throw error;
    }
  }
}

export const maker = new Maker();

// What a person chose in a gallery: kept by the browser, or by the server where the gallery comes from one.

import { make } from "../../web/js/dom.js";

/** Small values that the browser keeps for this gallery; private windows may keep nothing. */
export class Kept {
  constructor(run) {
    this.prefix = `eridiffusion.gallery:${location.pathname}:${run}:`;
  }

  read(key) {
    try {
      return localStorage.getItem(this.prefix + key);
    } catch {
      return null;
    }
  }

  write(key, value) {
    try {
      localStorage.setItem(this.prefix + key, value);
    } catch {
      // It holds for this page only, then.
    }
  }
}

/** Favourites and rejects: those of the time of writing, and what was changed since. */
export class Marks {
  constructor(kept, written, run) {
    Object.assign(this, { kept, run });
    this.token = document.querySelector('meta[name="eridiffusion-token"]').content;
    this.found = new Map(written.map(({ variant = "", step, item, mark }) => [this.keyOf(variant, step, item), mark]));
    if (!this.served) for (const [key, mark] of this.changes()) this.found.set(key, mark);
  }

  /** Whether a server keeps them. */
  get served() {
    return this.token !== "";
  }

  keyOf(variant, step, item) {
    return JSON.stringify([variant, step, item]);
  }

  changes() {
    try {
      const list = JSON.parse(this.kept.read("marks") ?? "[]");
      return Array.isArray(list) ? list : [];
    } catch {
      return []; // Written by something else.
    }
  }

  /** Ask the server for those that it has by now. */
  async load() {
    const { kept } = await (await fetch("keep/marks", { cache: "no-store" })).json();
    this.found = new Map(kept.map(({ variant = "", step, item, mark }) => [this.keyOf(variant, step, item), mark]));
  }

  get(variant, step, item) {
    return this.found.get(this.keyOf(variant, step, item)) ?? null;
  }

  async set(variant, step, item, mark) {
    const key = this.keyOf(variant, step, item);
    if (this.served) await this.post("marks", { variant, step, item, mark });
    else this.kept.write("marks", JSON.stringify([...new Map([...this.changes(), [key, mark]])]));
    this.found.set(key, mark);
  }

  /** Have the server keep something. */
  async post(what, body) {
    const headers = { "Content-Type": "application/json", "X-Eridiffusion-Token": this.token };
    const answer = await fetch(`keep/${what}`, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  /** Which writing of the gallery the server has; null where it does not answer. */
  async version() {
    try {
      return await (await fetch("version", { cache: "no-store" })).text();
    } catch {
      return null;
    }
  }

  /** Save them as a file, which `eri gallery RUN --marks FILE` takes. */
  save() {
    const marks = [...this.found].filter(([, mark]) => mark).map(([key, mark]) => {
      const [variant, step, item] = JSON.parse(key);
      return { ...(variant && { variant }), step, item, mark };
    });
    const text = JSON.stringify({ version: 1, run: this.run, marks }, null, 1);
    const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    make("a", { href, download: `${this.run}.eridiffusion.json` }).click();
    URL.revokeObjectURL(href);
  }
}

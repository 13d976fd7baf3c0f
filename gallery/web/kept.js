// What a person chose in a gallery: kept by the browser, or by the server where the gallery comes from one.

import { saveFile } from "../../web/js/dom.js";

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

  /** A list that was written as JSON. */
  list(key) {
    try {
      const found = JSON.parse(this.read(key) ?? "[]");
      return Array.isArray(found) ? found : [];
    } catch {
      return []; // Written by something else.
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

/** What keeps choices where the gallery comes from one of the pack's servers. */
export class Server {
  constructor(token) {
    this.token = token;
  }

  /** The server that the page names; null for a page from the disk. */
  static find() {
    const { content } = document.querySelector('meta[name="eridiffusion-token"]');
    return content === "" ? null : new Server(content);
  }

  /** Everything that it keeps of a kind. */
  async kept(what) {
    return (await answered(await fetch(`keep/${what}`, { cache: "no-store" }))).kept;
  }

  /** Have it keep something. */
  async post(what, body) {
    const headers = { "Content-Type": "application/json", "X-Eridiffusion-Token": this.token };
    return answered(await fetch(`keep/${what}`, { method: "POST", headers, body: JSON.stringify(body) }));
  }

  /** Which writing of the gallery it has; null where it does not answer. */
  async version() {
    try {
      return await (await fetch("version", { cache: "no-store" })).text();
    } catch {
      return null;
    }
  }
}

async function answered(answer) {
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Favourites, rejects and notes: those of the time of writing, and what was changed since. */
export class Marks {
  /** `server`: null for a page from the disk, whose browser keeps them. */
  constructor(kept, written, run, server) {
    Object.assign(this, { kept, run, server });
    this.take(written);
    if (!server) for (const [key, said] of this.kept.list("marks")) this.found.set(key, said);
  }

  take(entries) {
    this.found = new Map(entries.map(({ variant = "", step, item, mark = null, note = "" }) => [this.keyOf(variant, step, item), { mark, note }]));
  }

  keyOf(variant, step, item) {
    return JSON.stringify([variant, step, item]);
  }

  /** Ask the server for those that it has by now. */
  async load() {
    this.take(await this.server.kept("marks"));
  }

  /** What is said of a picture: {mark, note}. */
  get(variant, step, item) {
    return this.found.get(this.keyOf(variant, step, item)) ?? { mark: null, note: "" };
  }

  /** Keep {mark} or {note}. */
  async set(variant, step, item, change) {
    const key = this.keyOf(variant, step, item);
    const said = { ...this.get(variant, step, item), ...change };
    if (this.server) await this.server.post("marks", { variant, step, item, ...change });
    else this.kept.write("marks", JSON.stringify([...new Map([...this.kept.list("marks"), [key, said]])]));
    this.found.set(key, said);
  }

  /** Save them as a file, which `eri gallery RUN --marks FILE` takes. */
  save() {
    const marks = [...this.found].filter(([, { mark, note }]) => mark || note).map(([key, { mark, note }]) => {
      const [variant, step, item] = JSON.parse(key);
      return { ...(variant && { variant }), step, item, ...(mark && { mark }), ...(note && { note }) };
    });
    const text = JSON.stringify({ version: 1, run: this.run, marks }, null, 1);
    saveFile(`${this.run}.eridiffusion.json`, text, "application/json");
  }
}

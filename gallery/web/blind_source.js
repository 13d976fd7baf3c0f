// A gallery as the source of a blind comparison (see web/js/blind.js).

import { saveFile } from "../../web/js/dom.js";
import { nameOfStep } from "../../web/js/viewer.js";

/** Settings that change nothing in a picture without LoRA. */
const OF_THE_LORA = new Set(["run", "strength"]);

/** What is chosen among is a step under settings; the seed is none of them, as both pictures of a pair have the same. */
export function blindSource(gallery, text, kept, served) {
  const rows = gallery.all.filter(({ values, seed }) => values && seed !== null);
  const found = new Map(); // name of a candidate -> its place
  const candidates = [];
  const tasks = new Map();
  for (const row of rows) {
    const name = JSON.stringify([row.item, row.seed]);
    if (!tasks.has(name)) tasks.set(name, { item: row.item, seed: row.seed, prompt: row.prompt, urls: [] });
    for (const step of gallery.data.steps) {
      const url = gallery.ours(row, step);
      if (url === null) continue;
      const axes = settingsOf(row.values, step);
      const key = JSON.stringify([step, axes]);
      if (!found.has(key)) found.set(key, candidates.push({ step: step < 0 ? null : step, axes, label: labelOf(text, step, axes) }) - 1);
      tasks.get(name).urls[found.get(key)] = url;
    }
  }
  for (const { urls } of tasks.values()) candidates.forEach((_, at) => (urls[at] ??= null));
  const votes = served ? new ServedVotes(served) : new OwnVotes(kept, gallery.data.run.id);
  const source = { text, name: gallery.data.run.id, candidates, tasks: [...tasks.values()] };
  return Object.assign(source, {
    votes: () => votes.all(),
    vote: (vote) => votes.add(vote),
    ...(served ? { ranking: () => votes.ranking() } : { save: () => votes.save() }),
  });
}

function settingsOf({ seed, ...axes }, step) {
  return Object.fromEntries(Object.entries(axes).filter(([name]) => step !== 0 || !OF_THE_LORA.has(name)));
}

function labelOf(text, step, axes) {
  return [nameOfStep(text, step), ...Object.entries(axes).map(([name, value]) => `${name} ${value}`)].join(", ");
}

/** Votes that the gallery's server keeps. */
class ServedVotes {
  constructor(server) {
    this.server = server;
  }

  async all() {
    return (await this.server.kept("votes")).votes;
  }

  async ranking() {
    return (await this.server.kept("votes")).ranking;
  }

  add(vote) {
    return this.server.post("votes", vote);
  }
}

/** Votes that the browser keeps until they are saved. */
class OwnVotes {
  constructor(kept, run) {
    Object.assign(this, { kept, run });
  }

  async all() {
    return this.kept.list("votes");
  }

  async add(vote) {
    const others = this.kept.list("votes").filter(({ voter, made }) => voter !== vote.voter || made !== vote.made);
    this.kept.write("votes", JSON.stringify(vote.vote === null ? others : [...others, vote]));
  }

  /** Save them as a file, which `eri rank RUN --votes FILE` adds. */
  save() {
    const lines = this.kept.list("votes").map((vote) => `${JSON.stringify(vote)}\n`);
    saveFile(`${this.run}.votes.jsonl`, lines.join(""), "application/jsonl");
  }
}

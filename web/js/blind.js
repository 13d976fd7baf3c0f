// Blind comparison: two pictures of one prompt and seed, left and right by chance; which is which is shown at the end.
//
// It knows nothing of ComfyUI. What it shows comes from a source:
//   text(key, values)   a message in the person's language
//   name                the run
//   candidates          [{step, axes, label}]: what is chosen among; step null = the newest, of unknown step
//   tasks               [{item, seed, prompt, urls}]: a prompt and seed, and the URL of each candidate's picture or null
//   votes()             a promise of all votes so far, as in votes.jsonl
//   vote(vote)          keeps one, a promise; its `vote` null takes that of the same moment back
// and, where a page offers it:
//   ranking()           a promise of what `eri rank --json` prints
//   save()              hands the votes out as a file, where the page cannot send them
//
// Pictures are drawn on canvases, so that no address in the page tells which is which.

import { countPairs, keyOf, nameOf, nextPair, share, tally } from "./blind_pairs.js";
import { make } from "./dom.js";

const VOTER = "eridiffusion.voter";
/** Comparisons of one go: for each candidate, and at least. */
const GO = { each: 4, least: 12 };
const KEYS = { 1: "left", 2: "right", 0: "tie", t: "tie" };

export class Blind {
  constructor(source) {
    this.source = source;
    this.build();
  }

  text(key, values) {
    return this.source.text(key, values);
  }

  build() {
    this.title = make("h2", {});
    this.body = make("div", { className: "eri-blind-body" });
    this.status = make("p", { className: "eri-hidden", attributes: { role: "status" } });
    const close = make("button", { type: "button", onclick: () => this.element.close(), title: this.text("close"), attributes: { "aria-label": this.text("close") } }, "✕");
    this.element = make("dialog", { className: "eri-blind", tabIndex: -1, onkeydown: (event) => this.key(event) },
      make("header", {}, this.title, close), this.body, this.status);
    document.body.append(this.element);
  }

  remove() {
    this.element.remove();
  }

  button(label, onclick, properties = {}) {
    return make("button", { type: "button", onclick, ...properties }, label);
  }

  /** Ask who votes, and begin. */
  async open() {
    const { source } = this;
    this.title.textContent = `${this.text("blind")} · ${source.name}`;
    this.element.setAttribute("aria-label", this.title.textContent);
    this.pair = null;
    if (!this.element.open) this.element.showModal();
    const possible = countPairs(source.tasks);
    if (possible === 0) return this.body.replaceChildren(make("p", {}, this.text("blind_nothing")));
    this.all = await this.tried(() => source.votes());
    if (!this.all) return;
    this.voter = make("input", { type: "text", maxLength: 100, value: localStorage.getItem(VOTER) ?? "", autocomplete: "off" });
    const begin = (event) => {
      event.preventDefault();
      localStorage.setItem(VOTER, this.voter.value.trim());
      this.begin();
    };
    this.body.replaceChildren(make("form", { className: "eri-blind-start", onsubmit: begin },
      make("p", {}, this.text("blind_about", { count: source.candidates.length })), make("p", {}, this.text("blind_keys")),
      make("label", {}, this.text("voter"), " ", this.voter), make("button", { type: "submit" }, this.text("blind_begin")),
      ...(this.all.length > 0 ? [this.button(this.text("blind_result"), () => this.end())] : [])));
    this.voter.focus();
  }

  begin() {
    const { source } = this;
    this.given = []; // [vote, pair] of this go
    this.who = this.voter.value.trim();
    const mine = this.all.filter(({ voter = "" }) => voter === this.who);
    this.seen = new Set(mine.map(({ item, seed, left, right }) => nameOf({ item, seed }, left, right)));
    this.goal = Math.min(countPairs(source.tasks) - this.seen.size, Math.max(GO.least, GO.each * source.candidates.length));
    const choose = (vote, label) => this.button(label, () => this.choose(vote), { className: "eri-blind-choice" });
    const names = [this.text("left_picture"), this.text("right_picture")];
    this.sides = names.map((name) => make("canvas", { width: 1, height: 1, attributes: { role: "img", "aria-label": name } }));
    this.prompt = make("p", { className: "eri-prompt" });
    this.progress = make("progress", { attributes: { "aria-label": this.text("blind_progress") } });
    this.count = make("span", {});
    this.undo = this.button(this.text("undo"), () => this.takeBack());
    this.choices = make("div", { className: "eri-buttons" }, choose("left", this.text("choose_left")), choose("tie", this.text("choose_tie")), choose("right", this.text("choose_right")));
    this.body.replaceChildren(
      make("div", { className: "eri-blind-pair" }, ...this.sides.map((canvas) => make("div", { className: "eri-blind-side" }, canvas))),
      this.choices, this.prompt,
      make("div", { className: "eri-buttons" }, this.count, this.progress, this.undo, this.button(this.text("skip"), () => this.skip()), this.button(this.text("blind_result"), () => this.end())));
    this.next();
  }

  /** Ask for the next comparison; the result where there is none, or the go is over. */
  next() {
    const { source } = this;
    if (this.given.length === this.goal && !this.longer) return this.end();
    const pair = nextPair(source.tasks, source.candidates, this.all, this.seen);
    return pair ? this.ask(pair) : this.end();
  }

  async ask(pair) {
    this.pair = null; // nothing can be chosen while pictures are on their way
    const urls = [pair.left, pair.right].map((at) => pair.task.urls[at]);
    const images = await this.tried(() => Promise.all(urls.map(loaded)));
    if (!images || !this.element.open) return;
    images.forEach((image, at) => {
      const canvas = this.sides[at];
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      canvas.getContext("2d").drawImage(image, 0, 0);
    });
    this.pair = pair;
    this.prompt.textContent = pair.task.prompt;
    [this.progress.max, this.progress.value] = [Math.max(this.goal, this.given.length), this.given.length];
    this.count.textContent = this.text("blind_count", { done: this.given.length, total: Math.max(this.goal, this.given.length) });
    this.undo.disabled = this.given.length === 0;
    this.status.textContent = `${this.count.textContent} ${pair.task.prompt}`;
    this.element.focus();
  }

  /** The present pair's sides as they stand in votes. */
  sidesOf({ left, right }) {
    const side = ({ step, axes = {} }) => ({ step, axes });
    return { left: side(this.source.candidates[left]), right: side(this.source.candidates[right]) };
  }

  async choose(choice) {
    const { pair } = this;
    if (!pair) return;
    this.pair = null;
    const { item, seed } = pair.task;
    const vote = { version: 1, run: this.source.name, voter: this.who, made: new Date().toISOString(), item, seed, ...this.sidesOf(pair), vote: choice };
    if (!(await this.kept(vote))) return void (this.pair = pair);
    this.all.push(vote);
    this.given.push([vote, pair]);
    this.seen.add(nameOf(pair.task, vote.left, vote.right));
    this.next();
  }

  skip() {
    if (!this.pair) return;
    const { left, right } = this.sidesOf(this.pair);
    this.seen.add(nameOf(this.pair.task, left, right));
    this.next();
  }

  /** Take the last vote back and ask again. */
  async takeBack() {
    if (this.given.length === 0) return;
    const [vote, pair] = this.given.at(-1);
    if (!(await this.kept({ ...vote, vote: null }))) return;
    this.given.pop();
    this.all.splice(this.all.indexOf(vote), 1);
    this.seen.delete(nameOf(pair.task, vote.left, vote.right));
    this.ask(pair);
  }

  async kept(vote) {
    return (await this.tried(async () => [await this.source.vote(vote)])) !== undefined;
  }

  /** What `work()` promises; undefined where that failed, which is said. */
  async tried(work) {
    try {
      this.problem?.remove();
      return await work();
    } catch (error) {
      this.problem = make("p", { className: "eri-bad", attributes: { role: "alert" } }, error.message);
      this.body.prepend(this.problem);
      return undefined;
    }
  }

  key(event) {
    event.stopPropagation(); // nothing behind is meant
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input") || !this.choices?.isConnected) return;
    const key = event.key.toLowerCase();
    if (KEYS[key]) this.choose(KEYS[key]);
    else if (key === "u" || key === "backspace") this.takeBack();
    else if (key === "s") this.skip();
    else return;
    event.preventDefault();
  }

  /** Show what the votes say. */
  async end() {
    this.pair = null;
    const { source } = this;
    const ranking = this.all.length === 0 ? null : source.ranking ? await this.tried(() => source.ranking()) : this.shares();
    const label = ({ candidate, step, axes }) => source.candidates.find((one) => keyOf(one) === keyOf({ step, axes }))?.label ?? candidate;
    const more = () => {
      this.longer = this.given.length >= this.goal;
      this.body.replaceChildren();
      this.open();
    };
    const buttons = [this.button(this.text("blind_more"), more)];
    if (source.save && this.all.length > 0) buttons.push(this.button(this.text("save_votes"), () => source.save()));
    const said = ranking ? [make("p", { className: "eri-blind-answer" }, capital(this.answer(ranking, label))), this.chart(ranking.places, label),
      ...[...ranking.disagreements, ...ranking.notes].map((note) => make("p", { className: "eri-note" }, note)),
      make("p", { className: "eri-note" }, this.text(source.ranking ? "blind_chart" : "blind_shares"))] : [make("p", {}, this.text("no_votes"))];
    this.body.replaceChildren(...said, ...(this.problem?.textContent && !ranking ? [this.problem] : []), make("div", { className: "eri-buttons" }, ...buttons));
    this.status.textContent = said[0].textContent;
    buttons[0].focus();
  }

  /** Shares of won comparisons: what a page can say that has nobody to ask. */
  shares() {
    const counts = tally(this.all);
    const sides = new Map(this.all.flatMap(({ left, right }) => [left, right]).map((side) => [keyOf(side), side]));
    const places = [...counts].map(([key, count]) => ({ ...sides.get(key), ...count, ...share(count), candidate: String(sides.get(key).step), best: null }));
    places.sort((a, b) => b.preferred - a.preferred);
    return { places, open: places.filter(({ high }) => high >= places[0].low), more: null, disagreements: [], notes: [] };
  }

  answer({ places, open, more }, label) {
    const step = label(places[0]);
    if (places[0].best === null) return this.text("blind_leads", { step });
    const chance = Math.round(100 * places[0].best);
    if (open.length === 1) return this.text("blind_take", { step, chance });
    const others = open.slice(1).map(label).join(", ");
    const then = more === null ? this.text("blind_alike") : this.text("blind_votes", { count: more });
    return `${this.text("blind_open", { step, chance, others })} ${then}`;
  }

  /** A row for each candidate: how often it is preferred, its interval of 95 %, and the probability that it is the best. */
  chart(places, label) {
    const percent = (value) => `${Math.round(100 * value)} %`;
    const rows = places.map((place) => {
      const { preferred, low, high, best, wins, losses, ties } = place;
      const bar = make("div", { className: "eri-blind-bar", attributes: { role: "img", "aria-label": `${percent(preferred)} (${percent(low)} – ${percent(high)})` } },
        make("i", { className: "eri-blind-range" }), make("i", { className: "eri-blind-point" }));
      bar.style.setProperty("--eri-low", low);
      bar.style.setProperty("--eri-high", high);
      bar.style.setProperty("--eri-at", preferred);
      return make("tr", {}, make("th", { scope: "row" }, label(place)), make("td", {}, bar), make("td", {}, percent(preferred)),
        make("td", {}, best === null ? "" : percent(best)), make("td", {}, `${wins} / ${losses} / ${ties}`));
    });
    const heads = ["", "", this.text("preferred"), places[0].best === null ? "" : this.text("is_best"), this.text("won_lost_tied")];
    return make("table", { className: "eri-blind-chart" }, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, ...rows));
  }
}

const capital = (said) => said.charAt(0).toUpperCase() + said.slice(1);

/** A picture that is not in the page. */
async function loaded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

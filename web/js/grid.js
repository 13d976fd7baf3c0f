// A grid of prompts by steps. Only what is in view has a picture, so that thousands of samples open at once and a long
// scroll asks for little. It knows nothing of ComfyUI: `hooks` say where pictures come from and what a click does.

import { make } from "./dom.js";
import { nameOfStep, signOf } from "./viewer.js";

/** Distance around the view, in pixels, within which pictures are loaded. */
const NEAR = 120;
/** Longest sides of the small copies that are asked for. */
const COPIES = [144, 288, 576];
/** Width of the prompts: a share of the grid's, but no less than MIN where that is at most FEW of it. */
const PROMPTS = { share: 0.28, min: 104, few: 0.4, max: 240 };
/** Time in milliseconds for which a cell must have been in view before its picture is asked for. */
const DWELL = 100;

const keyOf = (step, item) => `${step}/${item}`;

/**
 * The hooks:
 *   text(key, values)            a message in the person's language
 *   thumbnail(shown, size)       the URL of a small copy of an entry of `samples` or `theirs`
 *   open(item, step)             is called for the cell that a person chose
 *   head(item, step)             {title, run}: what the button at a prompt (step null) or at a step (item null) does;
 *                                null = there is none
 * and, where a page offers it:
 *   verdict(item, step, wanted)  a promise of how far the trainer's sample and ours are apart
 */
export class Grid {
  constructor(hooks) {
    this.hooks = hooks;
    this.size = 74; // least distance from one step's column to the next, in pixels
    this.element = make("div", { className: "eri-scroll", onscroll: () => this.lookSoon() });
    this.sizer = new ResizeObserver(() => this.fit());
    this.sizer.observe(this.element);
    this.clear();
  }

  clear() {
    clearTimeout(this.timer);
    this.timer = null;
    this.element.replaceChildren();
    this.table = null;
    this.shape = "";
    this.places = new Map(); // cell -> {item, step, row, column, sample}
    this.cells = new Map(); // step/item -> cell
    this.nearby = new Set(); // cells in view or near it
    this.entered = []; // those that came to be so
  }

  dispose() {
    this.sizer.disconnect();
    this.clear();
  }

  /** Show pictures of another size. */
  resize(size) {
    const copy = this.copy;
    this.size = size;
    this.fit();
    if (this.copy !== copy) for (const [cell, { near }] of this.places) if (near) this.picture(cell);
  }

  /** The small copies that are large enough for a cell on this screen. */
  get copy() {
    return COPIES.find((side) => side >= this.size * Math.min(2, devicePixelRatio) * 0.95) ?? COPIES.at(-1);
  }

  /**
   * Show these samples. The same prompts and steps as before keep their cells, and with them place and focus.
   * `samples`, `theirs` and `marks` are as in the route's answer.
   */
  show(items, steps, { samples, theirs, marks }) {
    const shape = JSON.stringify([steps, items.map(({ index, prompt }) => [index, prompt])]);
    if (shape !== this.shape) this.build(items, steps, shape);
    const found = (list) => new Map(list.map((entry) => [keyOf(entry.step, entry.item), entry]));
    const [ours, own, marked] = [samples, theirs, marks].map(found);
    for (const [key, cell] of this.cells) this.fill(cell, ours.get(key), own.get(key), marked.get(key)?.mark);
  }

  build(items, steps, shape) {
    const at = this.places.get(document.activeElement);
    const { scrollLeft, scrollTop } = this.element;
    this.clear();
    Object.assign(this, { shape, items, steps });
    // The style lays rows out one by one, only those in view, so the roles of a table must be named.
    const part = (tag, role, properties, ...children) => make(tag, { ...properties, attributes: { role } }, ...children);
    const { text } = this.hooks;
    const head = part("tr", "row", {}, part("th", "columnheader", { textContent: text("prompt") }),
      ...steps.map((step) => part("th", "columnheader", {}, step < 0 ? nameOfStep(text, step) : String(step), ...this.headButton(null, step))));
    const rows = items.map((item, row) => part("tr", "row", {},
      part("th", "rowheader", { title: item.caption }, make("span", { textContent: item.caption }),
        ...this.headButton(item, null)),
      ...steps.map((step, column) => this.cell(item, step, row, column))));
    this.table = make("table", {
      attributes: { role: "grid", "aria-label": text("table") },
      onmouseover: (event) => this.tell(event.target.closest("td")),
      onclick: (event) => this.choose(event.target.closest("td")),
      onkeydown: (event) => this.key(event),
    }, part("thead", "rowgroup", {}, head), part("tbody", "rowgroup", {}, ...rows));
    // Where scrolling stops, per step. Not the heads: one above the view, though it sticks to its edge, counts as away.
    const stops = make("div", { className: "eri-stops", attributes: { "aria-hidden": "true" } }, ...steps.map(() => make("div")));
    this.sheet = make("div", { className: "eri-sheet" }, this.table, stops);
    this.sheet.style.setProperty("--eri-steps", steps.length);
    this.element.replaceChildren(this.sheet);
    this.fit();
    Object.assign(this.element, { scrollLeft, scrollTop });
    this.look();
    const focused = at && this.cells.get(keyOf(at.step, at.item.index));
    this.tabStop(focused ?? this.table.rows[1]?.cells[steps.length]);
    focused?.focus();
  }

  /** The button in a head, where there is one; keys reach the same in the large view. */
  headButton(item, step) {
    const offered = this.hooks.head(item, step);
    if (!offered) return [];
    const { title, run } = offered;
    return [make("button", { type: "button", className: "eri-make", tabIndex: -1, title, attributes: { "aria-label": title }, onclick: run })];
  }

  /** Widen the columns so that a whole number of them fills what the prompts leave free, where there are more than fit. */
  fit() {
    const width = this.element.clientWidth;
    if (!this.table || width <= 0) return; // nothing to show, or shown nowhere
    const { share, min, few, max } = PROMPTS;
    const prompts = Math.round(Math.min(max, Math.max(share * width, Math.min(min, few * width))));
    this.element.style.setProperty("--eri-prompts", `${prompts}px`);
    const free = width - prompts - 2;
    const count = Math.max(1, Math.floor(free / this.size));
    const atEnd = this.isAtEnd();
    this.pitch = count < this.steps.length ? free / count : Math.min(this.size, free);
    this.sheet.style.setProperty("--eri-pitch", `${this.pitch}px`);
    if (atEnd) this.element.scrollLeft = this.element.scrollWidth;
    this.look();
  }

  cell(item, step, row, column) {
    const cell = make("td", { tabIndex: -1, attributes: { role: "gridcell" } });
    this.places.set(cell, { item, step, row, column, sample: null });
    this.cells.set(keyOf(step, item.index), cell);
    return cell;
  }

  fill(cell, sample = null, own = null, mark = null) {
    const place = this.places.get(cell);
    const state = [sample?.url, sample?.version, own?.url, own?.version, mark].join();
    if (place.state === state) return;
    Object.assign(place, { state, sample, own, mark, verdict: null, lost: false });
    cell.classList.toggle("eri-made", sample !== null || own !== null);
    this.name(cell);
    if (place.near) this.picture(cell);
  }

  /** What a screen reader says of a cell. */
  name(cell) {
    const { item, step, sample, own, mark, verdict, lost } = this.places.get(cell);
    const { text } = this.hooks;
    const parts = [text(sample ? "cell_made" : "cell_open", { prompt: item.caption, step })];
    if (own && !sample) parts.push(text("cell_own"));
    if (verdict?.verdict) parts.push(text("verdict", { text: verdict.text }));
    if (mark) parts.push(text(mark === "favourite" ? "favourite" : "reject"));
    if (lost) parts.push(text("picture_lost"));
    cell.ariaLabel = parts.join(", ");
  }

  lookSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.look();
    });
  }

  /** Find the cells in view and near it; all are of one size, so that none of thousands has to be asked where it is. */
  look() {
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = this.element;
    if (!this.table || clientWidth === 0) return;
    const range = (from, size, count) => {
      const [first, end] = [Math.floor((from - NEAR) / this.pitch), Math.ceil((from + size + NEAR) / this.pitch)];
      return Array.from({ length: Math.max(0, Math.min(count, end) - Math.max(0, first)) }, (_, place) => Math.max(0, first) + place);
    };
    const columns = range(scrollLeft, clientWidth, this.steps.length);
    const rows = range(scrollTop, clientHeight, this.items.length).map((row) => this.table.rows[row + 1].cells);
    const near = new Set(rows.flatMap((cells) => columns.map((column) => cells[column + 1])));
    for (const cell of this.nearby) {
      if (near.has(cell)) continue;
      this.places.get(cell).near = false;
      cell.replaceChildren(); // what is still on its way is called off, too
    }
    for (const cell of near) {
      if (this.nearby.has(cell)) continue;
      this.places.get(cell).near = true;
      this.entered.push(cell);
    }
    this.nearby = near;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      for (const cell of this.entered.splice(0)) if (this.places.get(cell)?.near) this.picture(cell);
    }, DWELL);
  }

  picture(cell) {
    const place = this.places.get(cell);
    const { sample, own, mark } = place;
    const shown = sample ?? own;
    if (!shown) return cell.replaceChildren();
    const { text } = this.hooks;
    const src = this.hooks.thumbnail(shown, this.copy);
    cell.replaceChildren(make("img", { alt: "", src, draggable: false, onerror: () => this.lost(cell) }));
    const badge = (name, sign, title) => cell.append(make("span", { className: `eri-badge ${name}`, textContent: sign, title, attributes: { "aria-hidden": "true" } }));
    if (mark) badge(`eri-${mark}`, mark === "favourite" ? "★" : "✕", text(mark === "favourite" ? "favourite" : "reject"));
    if (!sample) badge("eri-own", "T", text("of_trainer"));
    if (sample && !own?.problem && this.hooks.verdict) this.judge(cell, badge);
  }

  /** A picture that went after the page was told of it, or that is none. */
  lost(cell) {
    const place = this.places.get(cell);
    if (!place) return; // another run is shown
    cell.replaceChildren("⚠");
    place.lost = true;
    this.name(cell);
  }

  /** Put the verdict on a cell that has both pictures, once it is there. */
  async judge(cell, badge) {
    const place = this.places.get(cell);
    const { item, step, state } = place;
    place.verdict ??= await this.hooks.verdict(item, step, () => place.near);
    if (!place.verdict?.verdict || place.state !== state || !place.near || cell.querySelector(".eri-verdict")) return;
    if (this.places.get(cell) !== place) return; // another run is shown
    const { verdict, text: said, largest } = place.verdict;
    badge("eri-verdict", verdict === "close" ? `${signOf(verdict)} ${largest}` : signOf(verdict), said);
    this.name(cell);
  }

  /** Mark the column of a step; `scroll` brings it into the middle of what the prompts leave free. */
  mark(at, scroll) {
    if (!this.table) return;
    for (const cell of this.table.querySelectorAll(".eri-at")) cell.classList.remove("eri-at");
    for (const row of this.table.rows) row.cells[at + 1]?.classList.add("eri-at");
    const head = this.table.rows[0];
    const cell = head.cells[at + 1];
    if (!scroll || !cell) return;
    const prompts = head.cells[0].offsetWidth;
    this.element.scrollLeft = cell.offsetLeft - prompts - (this.element.clientWidth - prompts - cell.offsetWidth) / 2;
  }

  /** Whether the last step is in view. */
  isAtEnd() {
    const { scrollLeft, clientWidth, scrollWidth } = this.element;
    return scrollLeft + clientWidth > scrollWidth - 8;
  }

  /** Let the Tab key come to this cell. */
  tabStop(cell) {
    if (this.stop) this.stop.tabIndex = -1;
    this.stop = cell;
    if (cell) cell.tabIndex = 0;
  }

  key(event) {
    const cell = event.target.closest("td");
    if (!cell || event.altKey || event.metaKey) return;
    const { row, column } = this.places.get(cell);
    const [lastRow, lastColumn] = [this.items.length - 1, this.steps.length - 1];
    const all = event.ctrlKey;
    const next = {
      ArrowLeft: [row, all ? 0 : column - 1],
      ArrowRight: [row, all ? lastColumn : column + 1],
      ArrowUp: [all ? 0 : row - 1, column],
      ArrowDown: [all ? lastRow : row + 1, column],
      Home: [all ? 0 : row, 0],
      End: [all ? lastRow : row, lastColumn],
    }[event.key];
    if (next) this.focus(...next);
    else if (event.key === "Enter" || event.key === " ") this.choose(cell);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  tell(cell) {
    if (cell) cell.title = this.hooks.text("cell_title", { step: this.places.get(cell).step });
  }

  focus(row, column) {
    const cell = this.table.rows[row + 1]?.cells[column + 1];
    if (row < 0 || column < 0 || !cell) return;
    this.tabStop(cell);
    cell.focus();
  }

  /** Put the focus on a sample's cell. */
  focusOn(item, step) {
    const place = this.places.get(this.cells.get(keyOf(step, item.index)));
    if (place) this.focus(place.row, place.column);
  }

  choose(cell) {
    if (!cell) return;
    this.tabStop(cell);
    const { item, step } = this.places.get(cell);
    this.hooks.open(item, step);
  }
}

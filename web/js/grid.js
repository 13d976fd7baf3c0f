// The grid of the sidebar tab: a run's prompts by its steps. Only what is in view has a picture, so that thousands of
// samples open at once and a long scroll asks ComfyUI for little.

import { api } from "../../../scripts/api.js";
import { text } from "./strings.js";

/** Distance around the view, in pixels, within which pictures are loaded. */
const NEAR = 120;
/** Least distance from one step's column to the next, in pixels. */
const PITCH = 74;
/** Time in milliseconds for which a cell must have been in view before its picture is asked for. */
const DWELL = 100;

/** An element with properties, attributes and children; names and prompts only ever become text nodes. */
export function make(tag, properties = {}, ...children) {
  const { attributes = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const keyOf = (step, item) => `${step}/${item}`;

/** `open(item, step)` is called for the cell that a person chose. */
export class Grid {
  constructor(open) {
    this.open = open;
    this.element = make("div", { className: "eri-scroll" });
    this.watcher = new IntersectionObserver((entries) => this.seen(entries), { root: this.element, rootMargin: `${NEAR}px` });
    this.sizer = new ResizeObserver(() => this.fit());
    this.sizer.observe(this.element);
    this.clear();
  }

  clear() {
    this.watcher.disconnect();
    clearTimeout(this.timer);
    this.timer = null;
    this.element.replaceChildren();
    this.table = null;
    this.shape = "";
    this.places = new Map(); // cell -> {item, step, row, column, sample}
    this.cells = new Map(); // step/item -> cell
    this.entered = []; // cells that came into view
  }

  dispose() {
    this.sizer.disconnect();
    this.clear();
  }

  /** Show these samples. The same prompts and steps as before keep their cells, and with them place and focus. */
  show(items, steps, samples) {
    const shape = JSON.stringify([steps, items.map(({ index, prompt }) => [index, prompt])]);
    if (shape !== this.shape) this.build(items, steps, shape);
    const found = new Map(samples.map((sample) => [keyOf(sample.step, sample.item), sample]));
    for (const [key, cell] of this.cells) this.fill(cell, found.get(key));
  }

  build(items, steps, shape) {
    const at = this.places.get(document.activeElement);
    const { scrollLeft, scrollTop } = this.element;
    this.clear();
    Object.assign(this, { shape, items, steps });
    // The style lays rows out one by one, only those in view, so the roles of a table must be named.
    const part = (tag, role, properties, ...children) => make(tag, { ...properties, attributes: { role } }, ...children);
    const head = part("tr", "row", {}, part("th", "columnheader", { textContent: text("prompt") }),
      ...steps.map((step) => part("th", "columnheader", { textContent: String(step) })));
    const rows = items.map((item, row) => part("tr", "row", {},
      part("th", "rowheader", { title: item.prompt }, make("span", { textContent: item.prompt })),
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
    const focused = at && this.cells.get(keyOf(at.step, at.item.index));
    this.tabStop(focused ?? this.table.rows[1]?.cells[steps.length]);
    focused?.focus();
  }

  /** Widen the columns so that a whole number of them fills what the prompts leave free, where there are more than fit. */
  fit() {
    const free = this.element.clientWidth - (this.table?.rows[0].cells[0].offsetWidth ?? 0);
    if (!this.table || free <= 0) return; // nothing to show, or shown nowhere
    const count = Math.max(1, Math.floor(free / PITCH));
    const atEnd = this.isAtEnd();
    this.sheet.style.setProperty("--eri-pitch", `${count < this.steps.length ? free / count : PITCH}px`);
    if (atEnd) this.element.scrollLeft = this.element.scrollWidth;
  }

  cell(item, step, row, column) {
    const cell = make("td", { tabIndex: -1, attributes: { role: "gridcell" } });
    this.places.set(cell, { item, step, row, column, sample: null });
    this.cells.set(keyOf(step, item.index), cell);
    this.watcher.observe(cell);
    return cell;
  }

  fill(cell, sample = null) {
    const place = this.places.get(cell);
    const { item, step } = place;
    if (cell.ariaLabel !== null && place.sample?.url === sample?.url && place.sample?.version === sample?.version) return;
    place.sample = sample;
    cell.classList.toggle("eri-made", sample !== null);
    cell.ariaLabel = text(sample ? "cell_made" : "cell_open", { prompt: item.prompt, step });
    if (place.near) this.picture(cell);
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const place = this.places.get(target);
      if (!place) continue; // of a table that has gone
      place.near = isIntersecting;
      if (isIntersecting) this.entered.push(target);
      else target.replaceChildren(); // what is still on its way is called off, too
    }
    this.timer ??= setTimeout(() => {
      this.timer = null;
      for (const cell of this.entered.splice(0)) if (this.places.get(cell)?.near) this.picture(cell);
    }, DWELL);
  }

  picture(cell) {
    const { sample } = this.places.get(cell);
    if (!sample) return cell.replaceChildren();
    const query = sample.url.slice(sample.url.indexOf("?") + 1);
    const src = api.apiURL(`/eridiffusion/thumbnail?${query}&version=${sample.version}`);
    cell.replaceChildren(make("img", { alt: "", src, draggable: false, onerror: () => cell.replaceChildren("⚠") }));
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
    if (cell) cell.title = text("cell_title", { step: this.places.get(cell).step });
  }

  focus(row, column) {
    const cell = this.table.rows[row + 1]?.cells[column + 1];
    if (row < 0 || column < 0 || !cell) return;
    this.tabStop(cell);
    cell.focus();
  }

  choose(cell) {
    if (!cell) return;
    this.tabStop(cell);
    const { item, step } = this.places.get(cell);
    this.open(item, step);
  }
}

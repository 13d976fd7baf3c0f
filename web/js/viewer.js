// One sample, large and whole, with keys through steps and prompts, and a slider between two pictures of a prompt.
//
// It knows nothing of ComfyUI. What it shows comes from a source:
//   text(key, values)      a message in the person's language
//   name, items, steps     the run; items as in a spec (index, prompt, seed, width, height) with `caption`: how to show
//                          the prompt (see `captioned`); steps ascending
//   ours(item, step)       the URL of the picture that was made again, null = there is none
//   theirs(item, step)     {url, problem} of the trainer's own, null = there is none
// and, where a page offers it:
//   verdict(item, step)    a promise of {verdict, text, why}: how far both are apart
//   others(item, step)     [{value, label, url}]: further pictures to compare with
//   actions(item, step)    [{label, pressed, run}]: buttons; `pressed` true or false makes one a switch
//   note(item, step)       {text, keep}: what somebody wrote about a sample, and what keeps another text
//   doing()                what is being made meanwhile, "" = nothing
//   left(item, step)       is called when the viewer closes

import { copy, make, setOptions } from "./dom.js";

const NONE = "";
const THEIRS = "theirs";
const ICONS = { "same picture": "=", close: "≈", different: "≠" };

/** What a step is called; below 0: of the newest checkpoint, whose step nobody knows. */
export function nameOfStep(text, step) {
  if (step < 0) return text("newest_step");
  return step === 0 ? text("no_lora") : text("at_step", { step });
}

/** Items of a spec with how to show each one's prompt: one that others have too, with the trainer's own name of the sample. */
export function captioned(text, items) {
  const alike = Map.groupBy(items, ({ prompt }) => prompt);
  return items.map((item) => {
    const parts = [item.prompt.trim() === "" ? text("no_prompt") : item.prompt];
    if (item.label && alike.get(item.prompt).length > 1) parts.push(item.label);
    return { ...item, caption: parts.join(" · ") };
  });
}

/** The switches that mark a sample, for `actions`; `keep` gets the mark that is chosen, null where it is taken away. */
export function markSwitches(text, mark, keep) {
  const names = [["favourite", text("favourite")], ["reject", text("reject")]];
  return names.map(([name, label]) => ({ label, pressed: mark === name, run: () => keep(mark === name ? null : name) }));
}

/** A verdict's sign, which does not need its colour. */
export const signOf = (verdict) => ICONS[verdict];

export class Viewer {
  constructor(source) {
    this.source = source;
    this.row = this.column = 0;
    this.against = NONE; // a step's number as text, THEIRS or NONE
    this.shown = 0; // tells a late verdict from the present one
    this.build();
  }

  text(key, values) {
    return this.source.text(key, values);
  }

  build() {
    const button = (label, onclick, properties = {}) => make("button", { type: "button", onclick, ...properties }, label);
    const named = (sign, title, onclick) => button(sign, onclick, { title, attributes: { "aria-label": title } });
    this.title = make("h2", {});
    this.status = make("p", { className: "eri-hidden", attributes: { role: "status" } });
    const picture = (properties = {}) => make("img", { draggable: false, onerror: (event) => this.lost(event.target), ...properties });
    this.now = picture();
    this.other = picture({ className: "eri-other" });
    this.line = make("div", { className: "eri-line", attributes: { "aria-hidden": "true" } });
    this.nowName = make("span", { className: "eri-tag eri-right" });
    this.otherName = make("span", { className: "eri-tag" });
    this.missing = make("p", { className: "eri-missing" });
    this.frame = make("div", { className: "eri-frame", onpointerdown: (event) => this.grab(event), onpointermove: (event) => this.drag(event) },
      this.now, this.other, this.line, this.otherName, this.nowName, this.missing);
    this.stage = make("div", { className: "eri-stage", tabIndex: 0, attributes: { role: "group" } }, this.frame);
    this.choice = make("select", { onchange: () => this.compare(this.choice.value) });
    this.wipe = make("input", { type: "range", min: "0", max: "100", value: "50", oninput: () => this.cut(), attributes: { "aria-label": this.text("wipe") } });
    this.steps = make("input", { type: "range", min: "0", step: "1", oninput: () => this.move(0, Number(this.steps.value) - this.column), attributes: { "aria-label": this.text("step") } });
    this.verdict = make("p", { className: "eri-verdict" });
    this.prompt = make("p", { className: "eri-prompt" });
    this.facts = make("p", { className: "eri-facts" });
    this.note = make("textarea", { rows: 1, maxLength: 2000, placeholder: this.text("note"), onchange: () => this.keepNote(), attributes: { "aria-label": this.text("note") } });
    this.actions = make("div", { className: "eri-actions" });
    this.doing = make("p", { attributes: { role: "status" } });
    const copied = (what) => async () => {
      const done = await copy(String(this.item[what]), this.element);
      this.doing.textContent = this.text(done ? "copied" : "not_copied");
    };
    this.seed = button(this.text("copy_seed"), copied("seed"));
    this.element = make("dialog", { className: "eri-viewer", onkeydown: (event) => this.key(event), onclose: () => this.closed() },
      make("header", {}, this.title, named("✕", this.text("close"), () => this.element.close())),
      make("div", { className: "eri-main" }, named("‹", this.text("earlier"), () => this.move(0, -1)), this.stage, named("›", this.text("later"), () => this.move(0, 1))),
      make("footer", {}, make("div", { className: "eri-compare" }, make("label", {}, this.text("compare"), " ", this.choice), this.wipe, this.verdict),
        make("label", { className: "eri-steps" }, this.text("step"), " ", this.steps),
        this.prompt, this.facts,
        make("div", { className: "eri-buttons" }, named("↑", this.text("previous"), () => this.move(-1, 0)), named("↓", this.text("next"), () => this.move(1, 0)),
          button(this.text("copy_prompt"), copied("prompt")), this.seed, this.actions, this.doing), this.note, this.status));
    document.body.append(this.element);
  }

  get item() {
    return this.source.items[this.row];
  }

  get step() {
    return this.source.steps[this.column];
  }

  get isOpen() {
    return this.element.open;
  }

  /** Show this sample; `against` as in the list of what to compare with. */
  open(item, step, against = this.against) {
    this.row = this.source.items.findIndex(({ index }) => index === item.index);
    this.column = this.source.steps.indexOf(step);
    this.against = against;
    if (!this.isOpen) this.element.showModal();
    this.stage.focus();
    this.show();
  }

  remove() {
    this.element.remove();
  }

  closed() {
    this.keepNote();
    this.notedAt = null;
    this.source.left?.(this.item, this.step);
  }

  /** Go to another prompt or step, as far as there is one. */
  move(rows, columns) {
    const within = (at, count) => Math.max(0, Math.min(count - 1, at));
    const [row, column] = [within(this.row + rows, this.source.items.length), within(this.column + columns, this.source.steps.length)];
    if (row === this.row && column === this.column) return;
    [this.row, this.column] = [row, column];
    this.show();
  }

  key(event) {
    event.stopPropagation(); // nothing behind the viewer is meant
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("select, input, textarea")) return;
    const { length: steps } = this.source.steps;
    const way = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -steps], End: [0, steps],
    }[event.key];
    if (!way) return;
    this.move(...way);
    event.preventDefault();
  }

  say(message) {
    this.status.textContent = message;
  }

  /** What the source has now of the present sample. The steps may be others than before. */
  refresh(step = this.step) {
    if (!this.isOpen) return;
    this.row = Math.min(this.row, this.source.items.length - 1);
    this.column = Math.max(0, this.source.steps.indexOf(step));
    this.show(false);
  }

  show(speak = true) {
    const { item, step, source } = this;
    const place = { step: step < 0 ? this.stepName(step) : step, prompt: this.row + 1, count: source.items.length };
    this.title.textContent = `${source.name} · ${this.text("viewer_place", place)}`;
    this.element.setAttribute("aria-label", this.title.textContent);
    this.prompt.textContent = item.caption;
    const seed = item.seed === null ? this.text("seed_random") : this.text("seed", { seed: item.seed });
    this.facts.textContent = `${seed} · ${item.width} × ${item.height}`;
    this.seed.hidden = item.seed === null;
    this.frame.style.setProperty("--eri-ratio", item.width / item.height);
    this.showStep();
    this.showPictures();
    this.showActions();
    this.doing.textContent = source.doing?.() ?? "";
    this.showNote();
    this.showVerdict();
    if (speak) this.say(`${this.text("viewer_place", place)}. ${this.missing.textContent}`);
    for (const [row, column] of [[0, 1], [0, -1]]) this.fetchAhead(this.row + row, this.column + column);
  }

  /** Where the slider over the steps stands. */
  showStep() {
    const last = this.source.steps.length - 1;
    this.steps.max = String(last);
    this.steps.value = String(this.column);
    this.steps.setAttribute("aria-valuetext", this.stepName(this.step));
    this.steps.parentElement.hidden = last < 1;
  }

  showPictures() {
    const { item, step, source } = this;
    const [ours, theirs] = [source.ours(item, step), source.theirs(item, step)];
    const now = ours ?? theirs?.url ?? null;
    this.listChoices();
    const other = this.otherUrl();
    const pairs = [[this.now, now, ours === null ? this.text("of_trainer") : this.stepName(step)],
      [this.other, other, this.otherLabel()]];
    for (const [image, url, label] of pairs) {
      image.hidden = url === null;
      image.alt = `${label}: ${item.prompt || item.caption}`;
      if (url === null) image.removeAttribute("src");
      else if (image.getAttribute("src") !== url) image.src = url;
    }
    [this.nowName.textContent, this.otherName.textContent] = [pairs[0][2], pairs[1][2]];
    this.nowName.hidden = now === null || (other === null && ours !== null);
    for (const part of [this.otherName, this.line, this.wipe]) part.hidden = now === null || other === null;
    this.missing.textContent = now === null ? this.text("not_made") : "";
    this.stage.setAttribute("aria-label", now === null ? this.missing.textContent : this.now.alt);
    this.cut();
  }

  /** A picture that went after the page was told of it, or that is none. */
  lost(image) {
    image.removeAttribute("src"); // so that it is tried again when it is to be shown again
    image.hidden = true;
    this.missing.textContent = this.text("picture_lost");
    this.say(this.missing.textContent);
  }

  /** The steps and pictures that there are to compare this prompt with. */
  listChoices() {
    const { item, step, source } = this;
    const steps = source.steps.filter((one) => one !== step && source.ours(item, one) !== null);
    const pairs = [[NONE, this.text("compare_none")]];
    if (source.theirs(item, step) && source.ours(item, step)) pairs.push([THEIRS, this.text("of_trainer")]);
    pairs.push(...steps.map((one) => [String(one), this.stepName(one)]));
    pairs.push(...this.others.map(({ value, label }) => [value, label]));
    if (!pairs.some(([value]) => value === this.against)) pairs.push([this.against, this.otherLabel()]); // kept for the next sample
    setOptions(this.choice, pairs);
    this.choice.value = this.against;
  }

  stepName(step) {
    return nameOfStep((key, values) => this.text(key, values), step);
  }

  /** Further pictures that the page has of this sample. */
  get others() {
    return this.source.others?.(this.item, this.step) ?? [];
  }

  otherLabel() {
    if (this.against === NONE) return "";
    if (this.against === THEIRS) return this.text("of_trainer");
    return this.others.find(({ value }) => value === this.against)?.label ?? this.stepName(Number(this.against));
  }

  otherUrl() {
    const { item, step, source, against } = this;
    if (against === NONE || against === String(step)) return null;
    if (against === THEIRS) return source.ours(item, step) && (source.theirs(item, step)?.url ?? null);
    const other = this.others.find(({ value }) => value === against);
    return other ? other.url : source.ours(item, Number(against));
  }

  compare(against) {
    this.against = against;
    this.show(false);
  }

  /** Where the one picture ends and the other begins, in percent of their width. */
  cut() {
    this.frame.style.setProperty("--eri-wipe", `${this.wipe.value}%`);
  }

  grab(event) {
    if (this.wipe.hidden) return;
    this.frame.setPointerCapture(event.pointerId);
    this.drag(event);
  }

  drag(event) {
    if (!this.frame.hasPointerCapture(event.pointerId)) return;
    const { left, width } = this.frame.getBoundingClientRect();
    this.wipe.value = String(Math.round((100 * (event.clientX - left)) / width));
    this.cut();
  }

  showActions() {
    const had = [...this.actions.children].indexOf(document.activeElement);
    const offered = this.source.actions?.(this.item, this.step) ?? [];
    this.actions.replaceChildren(...offered.map(({ label, pressed, run }) => {
      const attributes = pressed === undefined ? {} : { "aria-pressed": String(pressed) };
      return make("button", { type: "button", textContent: label, attributes, onclick: run });
    }));
    if (had >= 0) (this.actions.children[had] ?? this.stage).focus();
  }

  /** The note of the present sample; one that somebody writes at is left alone. */
  showNote() {
    const at = `${this.item.index}/${this.step}`;
    if (at === this.notedAt && document.activeElement === this.note) return;
    if (at !== this.notedAt) this.keepNote();
    [this.notedAt, this.noted] = [at, this.source.note?.(this.item, this.step) ?? null];
    this.note.hidden = this.noted === null;
    this.note.value = this.noted?.text ?? "";
  }

  keepNote() {
    const written = this.note.value.trim();
    if (!this.noted || written === this.noted.text) return;
    this.noted.text = written;
    this.noted.keep(written);
  }

  async showVerdict() {
    const { item, step, source } = this;
    const shown = ++this.shown;
    const theirs = source.theirs(item, step);
    this.verdict.textContent = theirs?.problem ? this.text("not_comparable", { reason: theirs.problem }) : "";
    if (!theirs || theirs.problem || source.ours(item, step) === null) return;
    this.verdict.textContent = this.text("comparing");
    const found = await source.verdict?.(item, step);
    if (shown !== this.shown) return;
    this.verdict.textContent = found ? `${signOf(found.verdict)} ${this.text("verdict", { text: found.text })} ${found.why}`.trim() : "";
  }

  fetchAhead(row, column) {
    const [item, step] = [this.source.items[row], this.source.steps[column]];
    const url = item && step !== undefined ? this.source.ours(item, step) : null;
    if (url !== null) new Image().src = url;
  }
}

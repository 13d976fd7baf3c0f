// The gallery: a run's prompts by its steps, in a page that needs nothing but the files beside it.

import { Blind } from "../../web/js/blind.js";
import { make, setOptions } from "../../web/js/dom.js";
import { Grid } from "../../web/js/grid.js";
import { nameOfStep, Viewer } from "../../web/js/viewer.js";
import { blindSource } from "./blind_source.js";
import { charts } from "./charts.js";
import { Kept, Marks, Server } from "./kept.js";
import { GallerySource } from "./source.js";
import { language, texts } from "./texts.js";

const ALL = "";
const NARROW = 700;
/** Time between two questions whether the gallery was written anew, in milliseconds. */
const QUESTION = 5000;

class Gallery {
  constructor(data) {
    this.data = data;
    this.text = texts(data.texts);
    this.kept = new Kept(data.run.id);
    this.server = Server.find();
    this.marks = new Marks(this.kept, data.marks, data.run.id, this.server);
    this.source = new GallerySource(data, this.text, this.marks, {
      changed: () => this.viewer.refresh(),
      play: (row) => this.play(row),
      left: (row, step) => {
        this.show(); // with what was marked meanwhile
        this.grid.focusOn(row, step);
      },
    });
    this.viewer = new Viewer(this.source);
    this.grid = new Grid({
      text: this.text,
      thumbnail: ({ picture }, size) => this.source.small(picture, size),
      open: (row, step) => this.viewer.open(row, step),
      verdict: (row, step) => this.source.verdict(row, step),
      head: (row) => (row?.moving ? { title: this.text("gallery_play"), run: () => this.play(row) } : null),
    });
    this.build();
    this.showTheme();
    this.grid.resize(Number(this.size.value));
    this.show();
    if (this.server) this.follow();
  }

  /** Show what the server keeps by now, and look out for a gallery that was written anew. */
  async follow() {
    await this.marks.load();
    this.show();
    await this.look();
    window.addEventListener("focus", () => this.look());
    setInterval(() => this.look(), QUESTION);
  }

  build() {
    const { data, text, kept } = this;
    const select = (id, change, pairs) => {
      const element = make("select", { id, onchange: change });
      setOptions(element, pairs);
      return element;
    };
    const again = () => this.show();
    const steps = data.steps.map((step) => [String(step), step < 0 ? nameOfStep(text, step) : String(step)]);
    this.search = make("input", { type: "search", id: "search", placeholder: text("gallery_search"), attributes: { "aria-label": text("gallery_search") }, oninput: again });
    this.rows = select("rows", again, [[ALL, text("gallery_all")], ...this.source.kinds]);
    this.rows.value = ALL;
    [this.from, this.to] = [select("from", again, steps), select("to", again, steps)];
    this.to.value = steps.at(-1)[0];
    this.only = select("only", again, [[ALL, text("gallery_all")], ["favourite", text("gallery_favourites")], ["kept", text("gallery_no_rejects")]]);
    this.size = make("input", { type: "range", id: "size", min: "48", max: "576", step: "4", value: kept.read("size") ?? (innerWidth < NARROW ? "88" : "148"), oninput: () => this.resize() });
    this.theme = select("theme", () => this.chooseTheme(), [[ALL, text("gallery_system")], ["light", text("gallery_light")], ["dark", text("gallery_dark")]]);
    this.theme.value = kept.read("theme") ?? ALL;
    this.note = make("p", { className: "note", attributes: { role: "status" } });
    this.fresh = make("button", { type: "button", hidden: true, textContent: text("gallery_fresh"), onclick: () => location.reload() });
    const pair = (key, element) => make("span", { className: "pair" }, make("label", { htmlFor: element.id, textContent: text(key) }), element);
    const save = make("button", { type: "button", textContent: text("gallery_save_marks"), hidden: this.server !== null, onclick: () => this.marks.save() });
    const blind = make("button", { type: "button", textContent: text("blind"), hidden: data.pictures.length < 2, onclick: () => this.compareBlind() });
    const tools = make("div", { className: "tools" }, this.search,
      ...(this.source.kinds.length > 1 ? [pair("gallery_rows", this.rows)] : []),
      pair("gallery_from", this.from), pair("gallery_to", this.to), pair("gallery_only", this.only),
      pair("size", this.size), pair("gallery_theme", this.theme), blind, save);
    const folded = make("details", { open: innerWidth >= NARROW }, make("summary", {}, text("gallery_tools")), tools);
    const measures = charts(data, text, (key) => this.source.nameOf(key));
    const { name, family, trainer } = data.run;
    const about = [family, trainer].filter(Boolean).join(" · ");
    const head = make("header", {}, make("h1", {}, name), make("p", { className: "about", textContent: about }), this.fresh);
    document.body.replaceChildren(make("main", {}, head, folded, measures, this.note, this.grid.element));
    document.body.append(this.viewer.element);
    document.documentElement.lang = language(data.texts);
    document.title = name;
  }

  /** The rows and columns that the filters leave. */
  show() {
    const { source, text } = this;
    const [from, to] = [Number(this.from.value), Number(this.to.value)].sort((a, b) => a - b);
    const words = this.search.value.trim().toLowerCase();
    const wanted = { kind: this.rows.value, words, from, to, only: this.only.value };
    const { rows, steps, shown } = source.filter(wanted);
    this.grid.show(rows, steps, shown);
    const pictures = shown.samples.length + shown.theirs.length;
    this.note.textContent = pictures > 0 ? text("gallery_shown", { pictures, all: source.count }) : text("gallery_none");
  }

  resize() {
    this.kept.write("size", this.size.value);
    this.grid.resize(Number(this.size.value));
  }

  chooseTheme() {
    this.kept.write("theme", this.theme.value);
    this.showTheme();
  }

  showTheme() {
    if (this.theme.value) document.documentElement.dataset.theme = this.theme.value;
    else delete document.documentElement.dataset.theme;
  }

  /** Compare pictures without knowing their steps. */
  compareBlind() {
    this.blind?.remove();
    this.blind = new Blind(blindSource(this.source, this.text, this.kept, this.server));
    this.blind.open();
  }

  /** Show the moving picture of a row, which only runs while somebody looks at it. */
  play(row) {
    const close = make("button", { type: "button", textContent: this.text("close"), onclick: () => dialog.close() });
    const picture = make("img", { src: row.moving, alt: `${this.text("gallery_play")}: ${row.prompt}` });
    const dialog = make("dialog", { className: "moving", onclose: () => dialog.remove() }, picture, make("p", {}, row.caption), close);
    dialog.setAttribute("aria-label", this.text("gallery_play"));
    document.body.append(dialog);
    dialog.showModal();
  }

  /** Offer the gallery anew once its server has written it anew. */
  async look() {
    const version = document.hidden ? null : await this.server.version();
    this.first ??= version;
    this.fresh.hidden = version === null || version === this.first;
  }
}

export function start() {
  new Gallery(JSON.parse(document.getElementById("data").textContent));
}

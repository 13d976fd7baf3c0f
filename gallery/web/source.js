// What a gallery has, as the grid and the viewer ask for it. A row is a prompt under one choice of settings, or the
// trainer's own samples of a prompt.

import { captioned, markSwitches } from "../../web/js/viewer.js";

const THEIRS = "theirs";
/** Longest sides of the small copies in the folder. */
const COPIES = [288, 576];
const keyOf = (step, row) => `${step}/${row.index}`;

export class GallerySource {
  /** `deeds`: changed() after a mark, play(row), left(row, step). */
  constructor(data, text, marks, deeds) {
    Object.assign(this, { data, text, marks, deeds, name: data.run.name, steps: data.steps });
    this.kinds = data.variants.map(({ key }) => [`=${key}`, this.nameOf(key)]);
    if (data.theirs.length > 0) this.kinds.push([THEIRS, text("of_trainer")]);
    this.all = this.rowsOf();
    this.items = this.all;
    this.pictures = new Map(); // step/row -> picture
    const rows = new Map(this.all.map((row) => [`${row.kind}/${row.item}`, row]));
    for (const [variant, step, item, file] of data.pictures) this.put(rows.get(`=${data.variants[variant].key}/${item}`), step, file);
    for (const [step, item, file] of data.theirs) this.put(rows.get(`${THEIRS}/${item}`), step, file);
    this.count = this.pictures.size;
    this.verdicts = new Map(data.verdicts.map(([step, item, said]) => [`${step}/${item}`, said]));
  }

  put(row, step, file) {
    this.pictures.set(keyOf(step, row), file);
  }

  /** What a variant is called. */
  nameOf(key) {
    return key === "" ? this.text("gallery_as_trained") : this.data.variants.find((variant) => variant.key === key).title;
  }

  rowsOf() {
    const { data, text } = this;
    const valuesOf = new Map(data.variants.map(({ key, values }) => [`=${key}`, values]));
    const many = this.kinds.length > 1;
    const moving = new Map(data.moving.map(([variant, item, file]) => [`=${data.variants[variant].key}/${item}`, file]));
    const rows = captioned(text, data.items).flatMap((item) => this.kinds.map(([kind, name]) => {
      const caption = many ? `${name} · ${item.caption}` : item.caption;
      const values = valuesOf.get(kind) ?? null; // the trainer's own have none
      return { ...item, item: item.index, kind, caption, values, seed: values?.seed ?? item.seed, moving: moving.get(`${kind}/${item.index}`) ?? null };
    }));
    return rows.map((row, index) => ({ ...row, index }));
  }

  /** The rows, steps and pictures that are wanted; rows and steps without any of them are left out. */
  filter({ kind, words, from, to, only }) {
    const rows = this.all.filter((row) => (kind === "" || row.kind === kind) && row.caption.toLowerCase().includes(words));
    const steps = this.data.steps.filter((step) => step >= from && step <= to);
    const cells = rows.flatMap((row) => steps.map((step) => ({ row, step, picture: this.pictures.get(keyOf(step, row)), mark: this.markOf(row, step) })))
      .filter(({ picture, mark }) => picture && (only === "" || (only === "favourite" ? mark === "favourite" : mark !== "reject")));
    const [withAny, atAny] = [new Set(cells.map(({ row }) => row)), new Set(cells.map(({ step }) => step))];
    this.items = rows.filter((row) => withAny.has(row));
    this.steps = steps.filter((step) => atAny.has(step));
    const entries = (theirs) => cells.filter(({ row }) => (row.kind === THEIRS) === theirs)
      .map(({ row, step, picture }) => ({ step, item: row.index, picture, url: picture }));
    const marks = cells.filter(({ mark }) => mark).map(({ row, step, mark }) => ({ step, item: row.index, mark }));
    return { rows: this.items, steps: this.steps, shown: { samples: entries(false), theirs: entries(true), marks } };
  }

  small(picture, size) {
    const side = COPIES.find((one) => one >= size) ?? COPIES.at(-1);
    return `small/${picture.slice(0, picture.lastIndexOf("."))}-${side}.webp`;
  }

  urlOf(row, step) {
    const picture = this.pictures.get(keyOf(step, row));
    return picture ? `pictures/${picture}` : null;
  }

  ours(row, step) {
    return row.kind === THEIRS ? null : this.urlOf(row, step);
  }

  theirs(row, step) {
    const own = this.all.find(({ kind, item }) => kind === THEIRS && item === row.item);
    const url = own ? this.urlOf(own, step) : null;
    return url ? { url, problem: "" } : null;
  }

  /** How far the trainer's own and the one as trained are apart; null where they were not compared. */
  verdict(row, step) {
    return row.kind === "=" ? (this.verdicts.get(`${step}/${row.item}`) ?? null) : null;
  }

  /** The same sample under other settings. */
  others(row, step) {
    return this.all.filter(({ item, kind }) => item === row.item && kind !== row.kind && kind !== THEIRS)
      .map((other) => ({ value: other.kind, label: this.nameOf(other.kind.slice(1)), url: this.urlOf(other, step) }))
      .filter(({ url }) => url !== null);
  }

  markOf(row, step) {
    return row.kind === THEIRS ? null : this.marks.get(row.kind.slice(1), step, row.item).mark;
  }

  actions(row, step) {
    const { text } = this;
    const offered = row.moving ? [{ label: text("gallery_play"), run: () => this.deeds.play(row) }] : [];
    if (row.kind === THEIRS || this.urlOf(row, step) === null) return offered;
    const keep = async (mark) => {
      try {
        await this.marks.set(row.kind.slice(1), step, row.item, { mark });
        this.deeds.changed();
      } catch (error) {
        alert(`${text("not_marked")}: ${error.message}`);
      }
    };
    return [...offered, ...markSwitches(text, this.markOf(row, step), keep)];
  }

  /** What somebody wrote about a picture. */
  note(row, step) {
    if (row.kind === THEIRS || this.urlOf(row, step) === null) return null;
    const place = [row.kind.slice(1), step, row.item];
    const keep = async (note) => {
      try {
        await this.marks.set(...place, { note });
      } catch (error) {
        alert(`${this.text("not_noted")}: ${error.message}`);
      }
    };
    return { text: this.marks.get(...place).note, keep };
  }

  left(row, step) {
    this.deeds.left(row, step);
  }
}

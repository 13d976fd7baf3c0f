// Small charts of a run's measures over its training steps, drawn by the page itself.

import { make } from "../../web/js/dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [260, 120];
const EDGE = { left: 46, right: 10, top: 8, bottom: 18 };
/** Kinds of lines that the style tells apart. */
const KINDS = 6;

const shape = (tag, attributes, ...children) => {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const said = (value) => String(Number(value.toPrecision(4)));

/** Where a value lies between two ends, as a share; in the middle where both are the same. */
const share = (value, low, high) => (high > low ? (value - low) / (high - low) : 0.5);

/** One chart. `lines`: {name, kind, points: [[step, value]]}. */
function chart(title, lines) {
  const points = lines.flatMap((line) => line.points);
  const [steps, values] = [0, 1].map((part) => points.map((point) => point[part]));
  const [[first, last], [low, high]] = [steps, values].map((all) => [Math.min(...all), Math.max(...all)]);
  const x = (step) => EDGE.left + share(step, first, last) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - share(value, low, high) * (HEIGHT - EDGE.top - EDGE.bottom);
  const label = (text, left, top, anchor) => shape("text", { x: left, y: top, "text-anchor": anchor }, text);
  const told = lines.map(({ name, points: own }) => `${name}: ${own.map(([step, value]) => `${step}: ${said(value)}`).join(", ")}`);
  const drawn = lines.map(({ name, kind, points: own }) => shape("g", { class: `line-${kind % KINDS}` },
    shape("polyline", { points: own.map(([step, value]) => `${x(step)},${y(value)}`).join(" ") }),
    ...own.map(([step, value]) => shape("circle", { cx: x(step), cy: y(value), r: 2.5 }, shape("title", {}, `${name} · ${step}: ${said(value)}`)))));
  const picture = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}. ${told.join("; ")}` },
    shape("path", { d: `M${EDGE.left} ${EDGE.top}V${HEIGHT - EDGE.bottom}H${WIDTH - EDGE.right}` }),
    ...[...new Set([low, high])].map((value) => label(said(value), EDGE.left - 4, y(value) + 3, "end")),
    ...(last > first ? [label(String(first), x(first), HEIGHT - 4, "start"), label(String(last), x(last), HEIGHT - 4, "end")]
      : [label(String(first), x(first), HEIGHT - 4, "middle")]), ...drawn);
  const legend = lines.length > 1 ? [make("p", {}, ...lines.map(({ name, kind }) => make("span", { className: `line-${kind % KINDS}`, textContent: name })))] : [];
  return make("figure", {}, make("figcaption", { textContent: title }), picture, ...legend);
}

/** All charts, folded; hidden where nothing was measured. `nameOf(key)`: what a variant is called. */
export function charts(data, text, nameOf) {
  const titles = {
    change: text("measure_change"), change_ssim: text("measure_change_ssim"), change_before: text("measure_change_before"),
    sharpness: text("measure_sharpness"), training: text("measure_training"), each_other: text("measure_each_other"),
  };
  const drawn = data.measures.map(([name, lines]) => chart(titles[name],
    lines.map(([variant, points]) => ({ name: nameOf(data.variants[variant].key), kind: variant, points }))));
  return make("details", { className: "charts", hidden: drawn.length === 0 },
    make("summary", {}, text("gallery_measures")), make("div", {}, ...drawn));
}

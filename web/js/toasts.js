// Where the front end's toasts stand while one of the pack's is among them: by themselves they cover the Run button.

import { app } from "../../../scripts/app.js";

const STACK = '.p-toast-top-right, [data-testid="toast-viewport"]'; // since 1.58.1 the second
const TOASTS = '.p-toast-message, [data-testid="toast"]';
const PLACED = "eridiffusion-placed";
/** The front end's buttons below on the right (their width and height), and the distance to the edges. */
const [BUTTONS, MARGIN] = [[280, 64], 16];
const ERRORS = '[data-testid="error-overlay"]';
const STEP = 8;
/** Widths that are tried, in pixels: beside a graph, and below one. */
const WIDTHS = [320, 384, 576, 720];
const STYLE = document.createElement("style");
STYLE.textContent = `.p-toast.p-component.p-toast-top-right.${PLACED}, [data-testid="toast-viewport"].${PLACED} {
  inset: var(--eri-top) auto auto var(--eri-left) !important; transform: none !important;
  width: var(--eri-width) !important; max-width: 90vw !important;
}`;
document.head.append(STYLE);

const ours = new Set(); // messages
const watched = new WeakSet();

const box = (element) => {
  const { left, top, right, bottom } = element.getBoundingClientRect();
  return [left, top, right, bottom];
};

/** What a toast is not to cover, as the page has it, and how much so: what can be read, rather than groups' grounds. */
function taken([right, bottom]) {
  const { graph, ds, canvas } = app.canvas;
  const [left, top] = box(canvas);
  const drawn = ({ pos: [x, y], size: [width, height] }, head) => [
    left + (x + ds.offset[0]) * ds.scale,
    top + (y - head + ds.offset[1]) * ds.scale,
    left + (x + width + ds.offset[0]) * ds.scale,
    top + (y + height + ds.offset[1]) * ds.scale,
  ];
  const errors = [...document.querySelectorAll(ERRORS)];
  return [
    ...graph._groups.map((group) => [drawn(group, 0), 10]),
    ...graph._nodes.filter(({ flags }) => !flags.collapsed).map((node) => [drawn(node, LiteGraph.NODE_TITLE_HEIGHT), 1000]),
    ...[...errors.map(box), [right - BUTTONS[0], bottom - BUTTONS[1], right, bottom]].map((element) => [element, 1000]),
  ];
}

const span = (low, high, otherLow, otherHigh) => Math.max(0, Math.min(high, otherHigh) - Math.max(low, otherLow));

/** Put the stack so on the page. */
function put({ x = 0, y = 0, wide }) {
  const { style } = document.documentElement;
  for (const [name, value] of [["left", x], ["top", y], ["width", wide]]) style.setProperty(`--eri-${name}`, `${value}px`);
}

/** Put the stack where it covers least, of such places the one nearest to the middle below. */
function place(stack) {
  const isOurs = ({ textContent }) => [...ours].some((message) => textContent.includes(message));
  const placed = [...stack.querySelectorAll(TOASTS)].some(isOurs);
  stack.classList.toggle(PLACED, placed);
  if (!placed) return;
  const panel = document.querySelector(".graph-canvas-panel") ?? app.canvas.canvas;
  const [left, , right, bottom] = box(panel);
  const top = box(document.querySelector(ERRORS) ?? panel)[1]; // errors push it down
  const obstacles = taken([right, bottom]);
  let best = { cost: Infinity, x: left, y: top, wide: WIDTHS[0] };
  for (const wide of WIDTHS) {
    put({ wide });
    const { offsetWidth: width, offsetHeight: height } = stack;
    const [lowest, middle] = [bottom - MARGIN - height, (left + right - width) / 2];
    const covers = (x, y, [its, weight]) => weight * span(x, x + width, its[0], its[2]) * span(y, y + height, its[1], its[3]);
    for (let y = lowest; y >= top + MARGIN; y -= STEP) {
      for (let x = left + MARGIN; x <= right - MARGIN - width; x += STEP) {
        const covered = obstacles.reduce((sum, obstacle) => sum + covers(x, y, obstacle), 0);
        const cost = covered + Math.hypot(x - middle, y - lowest);
        if (cost < best.cost) best = { cost, x, y, wide };
      }
    }
  }
  put(best);
}

/** Place the toast that says `message` once it is drawn, and the others that come while it is there. */
export function placeToast(message) {
  ours.add(message);
  requestAnimationFrame(() => {
    for (const stack of document.querySelectorAll(STACK)) {
      place(stack);
      if (watched.has(stack)) continue;
      watched.add(stack);
      new ResizeObserver(() => place(stack)).observe(stack);
    }
  });
}

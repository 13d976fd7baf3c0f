// How a graph is shown when it opens for the first time: so that its texts can be read.

import { app } from "../../../scripts/app.js";

/** Below 8/14 the front end draws no texts. */
const READABLE = 0.6;
/** Above the graph are the front end's bars. */
const BARS = 76;
const MARGIN = 16;
/** Subgraphs of the graphs here that nobody has seen so far: 1.49.6 passes through the one that was open before. */
const unseen = new WeakSet();

/** Show the graph whole where the canvas is free; its beginning where its texts would be too small to be read. */
function fitGraph() {
  const { ds, graph, canvas } = app.canvas;
  const whole = canvas.getBoundingClientRect();
  const free = (document.querySelector(".graph-canvas-panel") ?? canvas).getBoundingClientRect();
  const unfolded = graph._nodes.filter(({ flags }) => !flags.collapsed); // a folded one keeps its full size
  const boxes = [...graph._groups, ...unfolded].map(({ pos, size }) => [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]]);
  if (boxes.length === 0) return;
  const [left, top, right, bottom] = [Math.min, Math.min, Math.max, Math.max].map((outer, side) =>
    outer(...boxes.map((box) => box[side])),
  );
  const [width, height] = [free.width - 2 * MARGIN, free.height - BARS - MARGIN];
  ds.scale = Math.max(READABLE, Math.min(1, width / (right - left), height / (bottom - top)));
  ds.offset[0] = (free.left - whole.left + MARGIN) / ds.scale - left;
  ds.offset[1] = (free.top - whole.top + BARS) / ds.scale - top;
  app.canvas.setDirty(true, true);
}

/** Two frames on, ComfyUI has set its own view of what it opens. */
const VIEW_SET = 2;
/** 1.32.9 notes where the sockets of Vue nodes are in the frames after it made these, and goes wrong with a view that
 * changes meanwhile: it would draw the links beside them. */
const SOCKETS_NOTED = 6;
/** Nodes that are not drawn by then never are. */
const MADE = 120;

const isMade = ({ id }) => document.querySelector(`[data-node-id="${id}"]`) !== null;

/** Resolves once ComfyUI has set its view of the graph on the canvas, and knows where its nodes are. */
export async function settled() {
  const frames = async (count) => {
    for (let frame = 0; frame < count; frame += 1) await new Promise(requestAnimationFrame);
  };
  await frames(VIEW_SET);
  if (!LiteGraph.vueNodesMode) return;
  for (let frame = 0; frame < MADE && !app.canvas.graph._nodes.every(isMade); frame += 1) await frames(1);
  await frames(SOCKETS_NOTED);
}

/** Fit `graph` then, where it still is on the canvas. */
async function fitSoon(graph) {
  await settled();
  if (app.canvas.graph !== graph) return;
  unseen.delete(graph);
  fitGraph();
}

app.registerExtension({
  name: "eridiffusion.View",
  setup() {
    app.canvas.canvas.addEventListener("litegraph:set-graph", ({ detail }) => {
      if (unseen.has(detail.newGraph)) fitSoon(detail.newGraph);
    });
  },
  /** A graph as the pack wrote it says so in `extra`. What is saved from the canvas no longer does: its view is a person's. */
  afterConfigureGraph() {
    const { graph } = app;
    if (!graph.extra.eridiffusion?.unseen) return;
    delete graph.extra.eridiffusion;
    for (const subgraph of graph.subgraphs.values()) unseen.add(subgraph);
    app.canvas.setGraph(graph); // front end 1.32.9 otherwise stays in a subgraph that was open
    fitSoon(graph);
  },
});

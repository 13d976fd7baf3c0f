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
const frame = (work) => requestAnimationFrame(() => requestAnimationFrame(work));

/** Fit `graph` once ComfyUI has set its view, where it still is on the canvas. */
function fitSoon(graph) {
  frame(() => {
    if (app.canvas.graph !== graph) return;
    unseen.delete(graph);
    fitGraph();
  });
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

// What a person would see only inside of a box stands on its outside, too: the pictures of the Save Samples that it
// holds, what its LoRA at Step loaded, and how far sampling is ("picture 2 of 4").

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { make } from "./dom.js";

/** What workflows/canvas/sizes.py leaves for them. */
const HEIGHT = 240;
const PICTURE = "flex: 1 1 0; width: 0; min-height: 0; object-fit: contain";
const ROW = "flex: 1 1 0; min-height: 0; display: flex; gap: 4px";
const LINE = "color: var(--input-text); font-size: 10px; white-space: pre-line";
const shelves = new WeakMap(); // box -> the element with its pictures
const SAVER = "EriSaveSamples";

/** The pictures in rows, about as many as stand in each. */
function rowsOf(files) {
  const [address, count] = [(file) => api.apiURL(`/view?${new URLSearchParams(file)}`), Math.ceil(Math.sqrt(files.length))];
  const drawn = files.map((file) => make("img", { src: address(file), alt: file.filename, attributes: { style: PICTURE } }));
  const starts = drawn.map((_, place) => place).filter((place) => place % count === 0);
  return starts.map((start) => make("div", { attributes: { style: ROW } }, ...drawn.slice(start, start + count)));
}

/** Show what the nodes inside saved and loaded last, which ComfyUI keeps by subgraph and node. */
function show({ subgraph }, shelf) {
  const told = (kind, key) => subgraph.nodes.filter(({ comfyClass }) => comfyClass === kind)
    .flatMap(({ id }) => app.nodeOutputs[`${subgraph.id}:${id}`]?.[key] ?? []);
  const loaded = [...new Set(told("EriLoraAtStep", "text").map((report) => report.split("\n")[0]))].join("\n");
  shelf.replaceChildren(
    ...(loaded ? [make("div", { textContent: loaded, attributes: { style: LINE } })] : []),
    ...rowsOf(told(SAVER, "images")),
  );
}

function addShelf(box) {
  const shelf = make("div", { attributes: { style: "display: flex; flex-direction: column; gap: 4px" } });
  const options = { serialize: false, getMinHeight: () => HEIGHT, hideOnZoom: false };
  box.addDOMWidget("pictures", "pictures", shelf, options).serialize = false;
  shelves.set(box, shelf);
  show(box, shelf);
}

api.addEventListener("executed", ({ detail }) => {
  const [outermost] = String(detail?.display_node ?? detail?.node).split(":");
  const box = app.graph.getNodeById(Number(outermost));
  if (shelves.has(box)) queueMicrotask(() => show(box, shelves.get(box))); // after ComfyUI's own listeners
});

api.addEventListener("progress_text", ({ detail }) => {
  const [outermost, ...inner] = String(detail?.nodeId).split(":");
  if (inner.length > 0) api.dispatchEvent(new CustomEvent("progress_text", { detail: { ...detail, nodeId: outermost } }));
});

app.registerExtension({
  name: "eridiffusion.Boxes",
  afterConfigureGraph() {
    const boxes = app.graph._nodes.filter((node) => node.subgraph?.nodes.some(({ comfyClass }) => comfyClass === SAVER));
    boxes.filter((box) => !shelves.has(box)).forEach(addShelf);
  },
});

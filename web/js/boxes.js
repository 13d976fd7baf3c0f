// What a person would see only inside of a box stands on its outside, too: the pictures of the Save Samples that it
// holds, and how far sampling is ("picture 2 of 4").

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { make } from "./dom.js";

/** What workflows/canvas/sizes.py leaves for them. */
const HEIGHT = 240;
const PICTURE = "width: 100%; height: 100%; min-height: 0; object-fit: contain";
const shelves = new WeakMap(); // box -> the element with its pictures
const isSaver = ({ comfyClass }) => comfyClass === "EriSaveSamples";

/** Show what the savers inside saved last, which ComfyUI keeps by subgraph and node. */
function show({ subgraph }, shelf) {
  const files = subgraph.nodes.filter(isSaver).flatMap(({ id }) => app.nodeOutputs[`${subgraph.id}:${id}`]?.images ?? []);
  const columns = Math.ceil(Math.sqrt(files.length)) || 1;
  shelf.style.cssText = `display: grid; gap: 4px; grid: auto-flow minmax(0, 1fr) / repeat(${columns}, minmax(0, 1fr))`;
  const address = (file) => api.apiURL(`/view?${new URLSearchParams(file)}`);
  shelf.replaceChildren(
    ...files.map((file) => make("img", { src: address(file), alt: file.filename, attributes: { style: PICTURE } })),
  );
}

function addShelf(box) {
  const shelf = make("div");
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
    const boxes = app.graph._nodes.filter((node) => node.subgraph?.nodes.some(isSaver));
    boxes.filter((box) => !shelves.has(box)).forEach(addShelf);
  },
});

// Save Samples and Contact Sheet make a list of pictures one by one, in branches of the running graph. ComfyUI shows what
// a node reported last, and reports an error in a branch at the node that added it. Here the pictures are put together,
// so that the node shows all that are done, and an error stands at the node that it is of: the sampler, the decoder.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const TAKERS = ["EriSaveSamples", "EriContactSheet"];
/** What each node has shown of its running prompt: `prompt` (its id) and `images` by number. */
const shown = new Map();
/** The id of the node that ComfyUI shows as running. */
let running = null;

api.addEventListener("executed", ({ detail }) => {
  const { pictures, images } = detail?.output ?? {};
  if (!pictures || !images) return;
  const node = detail.display_node ?? detail.node;
  let known = shown.get(node);
  if (known?.prompt !== detail.prompt_id) shown.set(node, (known = { prompt: detail.prompt_id, images: [] }));
  pictures.forEach((number, place) => (known.images[number] = images[place]));
  const all = { images: known.images.filter(Boolean) };
  // after ComfyUI's own listeners have shown the new one alone
  queueMicrotask(() => api.dispatchEvent(new CustomEvent("executed", { detail: { ...detail, node, output: all } })));
});

/** The node on the canvas that ComfyUI calls so: the numbers of the boxes it is in, then its own. */
export function nodeOf(id) {
  let node = null;
  for (const number of String(id).split(":")) node = (node?.subgraph ?? app.graph).getNodeById(Number(number));
  return node;
}

api.addEventListener("executing", ({ detail }) => {
  if (detail) running = detail;
});
api.addEventListener("execution_error", ({ detail }) => {
  const node = TAKERS.includes(detail.node_type) ? nodeOf(running) : null;
  if (node) Object.assign(detail, { node_id: running, node_type: node.comfyClass ?? node.type });
}, { capture: true }); // before ComfyUI's own listeners

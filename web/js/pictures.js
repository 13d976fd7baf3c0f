// Save Samples reports the pictures of a list one by one, and ComfyUI shows what a node reported last: here they are
// put together, so that the node shows all that are done.

import { api } from "../../../scripts/api.js";

/** What each node has shown of its running prompt: `prompt` (its id) and `images` by number. */
const shown = new Map();

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

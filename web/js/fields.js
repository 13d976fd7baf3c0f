// Fields of Triple Text Encode that the family of its graph has no use for are hidden. Links, values and what is saved
// stay; a field that is linked, or that a person gave another value than its default, stays in view.

import { app } from "../../../scripts/app.js";

const NODE = "EriTripleTextEncode";
/** Fields without use, by family; made by dev/trainer_tables.py. */
const UNUSED = {
  flux: ["prompt_3", "width", "height", "missing", "t5_padding"],
  sd35: ["width", "height", "t5_padding"],
  sdxl: ["prompt_3", "t5_length", "missing", "t5_padding"],
  chroma: ["prompt_2", "prompt_3", "missing", "long_prompt", "text_rules"],
};
/** Nodes that say which family their graph is of: the widget, and the family in its value. */
const TELLING = {
  EriTrainerNoise: ["family", (value) => value],
  EriSampleSpec: ["config", (value) => /"family": *"(\w+)"/.exec(value)?.[1]],
};
const defaults = new WeakMap(); // node -> values of its fields when it was made
const ours = new WeakSet(); // fields that are hidden here
const widget = (node, name) => node.widgets?.find((entry) => entry.name === name);

/** The family that a graph's nodes agree on; undefined where they name none or several. */
function familyOf(graph) {
  const told = graph._nodes.flatMap((node) => {
    const [name, read] = TELLING[node.comfyClass] ?? [];
    const family = name && read(widget(node, name)?.value);
    return family in UNUSED ? [family] : [];
  });
  return new Set(told).size === 1 ? told[0] : undefined;
}

function hideIn(graph) {
  const unused = UNUSED[familyOf(graph)] ?? [];
  for (const node of graph._nodes.filter(({ comfyClass }) => comfyClass === NODE)) {
    const linked = new Set(node.inputs.filter(({ link }) => link !== null).map(({ name }) => name));
    for (const [name, value] of defaults.get(node)) {
      const field = widget(node, name);
      const hidden = unused.includes(name) && !linked.has(name) && field.value === value;
      if (hidden === ours.has(field)) continue; // the front end hides fields, too
      field.hidden = field.options.hidden = hidden;
      ours[hidden ? "add" : "delete"](field);
      // Front ends before 1.49 leave room for what is hidden.
      if (hidden) Object.assign(field, { computeSize: () => [0, -4], computeLayoutSize: undefined });
      else delete field.computeSize, delete field.computeLayoutSize;
    }
  }
}

/** Look at all graphs again, once what changes them is done. */
function look() {
  if (app.graph) for (const graph of [app.graph, ...app.graph.subgraphs.values()]) hideIn(graph);
  app.canvas?.setDirty(true, true);
}

app.registerExtension({
  name: "eridiffusion.Fields",
  nodeCreated(node) {
    if (node.comfyClass === NODE) defaults.set(node, node.widgets.map(({ name, value }) => [name, value]));
    const told = widget(node, TELLING[node.comfyClass]?.[0]);
    if (told) {
      const { callback } = told;
      told.callback = (...values) => {
        callback?.apply(told, values);
        look();
      };
    }
    if (told || node.comfyClass === NODE) queueMicrotask(look);
  },
  afterConfigureGraph: look,
});

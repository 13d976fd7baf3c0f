// LoRA at Step: what it loaded, on the node itself, and the steps of its run to choose from.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { ComfyWidgets } from "../../../scripts/widgets.js";
import { fetchJson, showError } from "./lib.js";
import { nodeOf } from "./pictures.js";
import { text } from "./strings.js";

const NODE = "EriLoraAtStep";
const widget = (node, name) => node.widgets.find((entry) => entry.name === name);

function set(node, name, value) {
  const target = widget(node, name);
  target.value = value;
  target.callback?.(value, app.canvas, node);
}

/** What a person can choose: the newest checkpoint, each step, and no LoRA where the run saved no step 0. */
function choices(node, steps) {
  const exact = (step) => {
    set(node, "step", step);
    set(node, "mode", "exact");
  };
  const listed = [...steps].reverse().map((step) => ({ content: text("at_step", { step }), callback: () => exact(step) }));
  const newest = { content: text("newest_step"), callback: () => set(node, "mode", "latest") };
  return [newest, ...listed, ...(steps.includes(0) ? [] : [{ content: text("without_lora"), callback: () => exact(0) }])];
}

async function showSteps(node, event) {
  const run = widget(node, "run").value;
  try {
    const { runs } = await fetchJson("/eridiffusion/runs");
    const found = runs.find(({ name }) => name === run);
    if (found?.error) throw new Error(found.error);
    if (!found?.steps.length) throw new Error(text("run_without_steps", { run }));
    new LiteGraph.ContextMenu(choices(node, found.steps), { event, title: run });
  } catch (error) {
    showError(text("steps_of_run"), error.message);
  }
}

/** Nodes of the running graph whose result ComfyUI has kept, so that they say nothing, although the page was opened since. */
const isUntold = (id) => {
  const node = nodeOf(id);
  return node?.comfyClass === NODE && widget(node, "loaded").value === text("not_run_yet");
};
let untold = [];
api.addEventListener("execution_cached", ({ detail }) => {
  untold = detail.nodes.filter(isUntold);
});
api.addEventListener("execution_success", async ({ detail }) => {
  if (untold.length === 0) return;
  const history = await (await api.fetchApi("/history?max_items=100")).json();
  const inputs = (run, id) => JSON.stringify(run?.prompt[2][id]?.inputs);
  for (const id of untold.filter(isUntold)) {
    const isSame = (run) => run.outputs[id]?.text && inputs(run, id) === inputs(history[detail.prompt_id], id);
    const told = Object.values(history).findLast(isSame);
    if (!told) continue;
    const report = { node: id, display_node: id, output: told.outputs[id], prompt_id: detail.prompt_id };
    api.dispatchEvent(new CustomEvent("executed", { detail: report }));
  }
});

app.registerExtension({
  name: "eridiffusion.LoraAtStep",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const steps = node.addWidget("button", text("steps_of_run"), null, () => showSteps(node, window.event));
    const { widget: loaded } = ComfyWidgets.STRING(node, "loaded", ["STRING", { multiline: true }], app);
    for (const added of [steps, loaded]) {
      added.serialize = false; // in the saved graph
      added.options.serialize = false; // in the prompt
    }
    loaded.options.read_only = true;
    loaded.element.readOnly = true;
    loaded.value = text("not_run_yet");
    const { onExecuted } = node;
    node.onExecuted = function (output, ...rest) {
      onExecuted?.call(this, output, ...rest);
      // of a list one line for each step
      if (output?.text) loaded.value = [...new Set(output.text.map((report) => report.split("\n")[0]))].join("\n");
    };
  },
});

// Training configs on the canvas: dropped, or chosen under File > Open training config…
//
// A file is told by its content, which the host's reader judges. One that is no training config goes on to ComfyUI
// as if this script were not there.

import { app } from "../../../scripts/app.js";
import { openGraph, postGraph, showError, showInfo } from "./lib.js";

const SUFFIXES = [".yaml", ".yml", ".toml", ".json", ".txt"];
const LARGEST = 4 << 20; // of a request; a config has no more
const FAMILIES = ["flux", "sd35", "sdxl"];
/** An inline setting as sd-scripts, musubi-tuner and ai-toolkit write it; tells a prompt list from any other text. */
const PROMPT_FLAG = /\s--(?:w|h|d|s|l|g|n|seed|cfg|steps)\s+\S/;

/** Drops that were looked at and left to ComfyUI. */
const left = new WeakSet();

const suffixOf = (file) => file.name.slice(Math.max(0, file.name.lastIndexOf("."))).toLowerCase();
const stemOf = (file) => file.name.replace(/\.\w+$/, "");
const isCandidate = (file) => SUFFIXES.includes(suffixOf(file)) && file.size <= LARGEST;

/** Whether a JSON text is one of ComfyUI's own files: a workflow, an API prompt or node templates. */
export function isComfyJson(text) {
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    return false; // the reader says where it is broken
  }
  if (document === null || typeof document !== "object" || Array.isArray(document)) return false;
  if (Array.isArray(document.nodes) || Array.isArray(document.templates)) return true;
  const entries = Object.values(document);
  return entries.length > 0 && entries.every((entry) => typeof entry?.class_type === "string");
}

/** Whether a text is meant as a list of prompts; every text could be one, so only clear signs count. */
function isPromptList(file, text) {
  return suffixOf(file) === ".txt" ? PROMPT_FLAG.test(text) : /["\s]prompt["\s]*[:=]/.test(text);
}

/** Ask which model was trained; null when the person gives up. */
async function askFamily(file) {
  const answer = await app.extensionManager.dialog.prompt({
    title: `Model of ${file.name}`,
    message: `${FAMILIES.join(", ")}?`, // a floating label: longer text would cover the answer
    defaultValue: FAMILIES[0],
  });
  return answer?.trim().toLowerCase() || null;
}

/** The graph of a config, its family asked for where a list of prompts needs it; null when that was cancelled. */
async function graphOf(file, text, files, insist) {
  const body = { config: text, source: file.name, files };
  try {
    return await postGraph(body);
  } catch (error) {
    if (error.kind !== "family_unknown" || !(insist || isPromptList(file, text))) throw error;
  }
  const family = await askFamily(file);
  return family === null ? null : postGraph({ ...body, family });
}

function showDone(file, { spec, notes }) {
  const count = spec.items.length;
  const where = notes.length > 0 ? " What to know about them stands in the graph's notes." : "";
  showInfo(file.name, `${count} sample${count === 1 ? "" : "s"} of ${spec.trainer}.${where}`, 8);
}

/**
 * Build the graph of a training config on the canvas. `texts` maps the names of the files that came with it to their
 * texts. Returns false when the file is no training config; errors of the reader are shown. `insist`: the person said
 * that this is a config, so that it is none is an error, too.
 */
export async function openConfig(file, texts, insist) {
  const text = texts.get(file.name);
  if (suffixOf(file) === ".json" && isComfyJson(text) && !insist) return false;
  const files = Object.fromEntries([...texts].filter(([name]) => name !== file.name));
  try {
    const graph = await graphOf(file, text, files, insist);
    if (graph === null) return true;
    await openGraph(graph.ui, stemOf(file));
    showDone(file, graph);
  } catch (error) {
    if (!insist && ["not_config", "family_unknown"].includes(error.kind)) return false;
    if (error.name !== "RouteError") throw error;
    showError(`${file.name} could not be read`, error.message);
  }
  return true;
}

/** The first of these files that is a training config, opened; the others are what it may name. */
async function openFiles(files, insist) {
  const texts = new Map(await Promise.all(files.map(async (file) => [file.name, await file.text()])));
  // A config before the prompts that it names.
  const order = [...files].sort((a, b) => (suffixOf(a) === ".txt") - (suffixOf(b) === ".txt"));
  for (const [index, file] of order.entries()) {
    if (!texts.get(file.name).trim() && !insist) continue;
    if (await openConfig(file, texts, insist && index === order.length - 1)) return true;
  }
  return false;
}

/** The same drop again, for ComfyUI and for other packs: the browser takes the first one's files away meanwhile. */
function dropAgain(target, event, files) {
  const dataTransfer = new DataTransfer();
  for (const file of files) dataTransfer.items.add(file);
  const { clientX, clientY, screenX, screenY, ctrlKey, shiftKey, altKey, metaKey } = event;
  const place = { clientX, clientY, screenX, screenY, ctrlKey, shiftKey, altKey, metaKey };
  const again = new DragEvent("drop", { bubbles: true, cancelable: true, composed: true, dataTransfer, ...place });
  left.add(again);
  target.dispatchEvent(again);
}

async function onDrop(event) {
  if (left.has(event) || app.dragOverNode) return; // a node under the pointer takes the file
  const files = [...(event.dataTransfer?.files ?? [])];
  if (files.length === 0 || !files.every(isCandidate)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const target = event.target;
  let done = false;
  try {
    done = await openFiles(files, false);
  } catch (error) {
    console.error(error);
    showError(`${files[0].name} could not be opened`, String(error));
    return;
  }
  if (!done) dropAgain(target, event, files);
}

/** Let the person choose a config, and the prompt files that it names. */
function chooseConfig() {
  const input = document.createElement("input");
  Object.assign(input, { type: "file", multiple: true, accept: SUFFIXES.join(",") });
  input.addEventListener("change", async () => {
    const files = [...input.files];
    const large = files.find((file) => !isCandidate(file));
    if (large) {
      showError(`${large.name} could not be read`, `Choose ${SUFFIXES.join(", ")} files of at most 4 MiB.`);
      return;
    }
    try {
      if (files.length > 0) await openFiles(files, true);
    } catch (error) {
      console.error(error);
      showError(`${files[0].name} could not be opened`, String(error));
    }
  });
  input.click();
}

app.registerExtension({
  name: "eridiffusion.TrainingConfig",
  commands: [
    {
      id: "eridiffusion.OpenTrainingConfig",
      label: "Open training config…",
      icon: "pi pi-file-import",
      function: chooseConfig,
    },
  ],
  menuCommands: [{ path: ["File"], commands: ["eridiffusion.OpenTrainingConfig"] }],
  setup() {
    // ComfyUI listens on the document; there is no documented hook before it, so this listens on the way down.
    window.addEventListener("drop", onDrop, { capture: true });
  },
});

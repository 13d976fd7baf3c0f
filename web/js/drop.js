// Training configs on the canvas: dropped, or chosen under File > Open training config…
//
// The pack's reader in ComfyUI judges a file by its content. One that is no training config goes on to ComfyUI
// as if this script were not there.

import { app } from "../../../scripts/app.js";
import { askFamily, namedByOthers, requestOf, stemOf, suffixOf, SUFFIXES, textsOf, wrongEncoding } from "./config_files.js";
import { fetchJson, keepWithRun, openGraph, postGraph, showError, showInfo } from "./lib.js";
import { text } from "./strings.js";

const MIB = 1 << 20;
const LARGEST = 4 * MIB; // of a request; a config has no more
/** An inline setting as sd-scripts, musubi-tuner and ai-toolkit write it; tells a prompt list from any other text. */
const PROMPT_FLAG = /\s--(?:w|h|d|s|l|g|n|seed|cfg|steps)\s+\S/;

/** Drops that were looked at and left to ComfyUI. */
const left = new WeakSet();

const isCandidate = (file) => SUFFIXES.includes(suffixOf(file));
/** A workflow may be as large as it likes; nothing else of these kinds means anything to ComfyUI. */
const isTooLarge = (file) => isCandidate(file) && suffixOf(file) !== ".json" && file.size > LARGEST;

function showTooLarge(file) {
  const size = (file.size / MIB).toFixed(1);
  showError(text("not_read", { file: file.name }), text("too_large", { size, limit: LARGEST / MIB }));
}

/** Whether a JSON text is one of ComfyUI's own files: a workflow, an API prompt or node templates. */
export function isComfyJson(content) {
  let document;
  try {
    document = JSON.parse(content);
  } catch {
    return false; // the reader says where it is broken
  }
  if (document === null || typeof document !== "object" || Array.isArray(document)) return false;
  if (Array.isArray(document.nodes) || Array.isArray(document.templates)) return true;
  const entries = Object.values(document);
  return entries.length > 0 && entries.every((entry) => typeof entry?.class_type === "string");
}

/** Whether a text is meant as a list of prompts; every text could be one, so only clear signs count. */
function isPromptList({ name }, content) {
  return suffixOf({ name }) === ".txt" ? PROMPT_FLAG.test(content) : /["\s]prompt["\s]*[:=]/.test(content);
}

/** The name of the run that a config is of, as this ComfyUI lists it; null where it lists none or several of that name. */
async function runOf({ name }) {
  const { runs } = await fetchJson("/eridiffusion/runs");
  const named = runs.map((run) => run.name).filter((run) => run === name || run.endsWith(`/${name}`));
  return named.length === 1 ? named[0] : null;
}

/** Keep the config with its run, for the sidebar; a folder that takes no file costs only that. */
async function remember(run, body) {
  try {
    await keepWithRun("config", run, body);
  } catch (error) {
    if (error.name !== "RouteError") throw error;
    console.warn(`${run}: ${error.message}`);
  }
}

/** As much of a name as a message has room for. */
const brief = (name) => (name.length > 44 ? `${name.slice(0, 44)}…` : name);

/** The graph of a config with the newest checkpoint of its run; of the base model alone where there is no such run. */
async function show(file, body) {
  let answer = await postGraph(body);
  const run = await runOf(answer.spec);
  if (run !== null) {
    answer = await postGraph({ ...body, run });
    await remember(run, body);
  }
  const { ui, spec, trainer, instead } = answer;
  await openGraph(ui, stemOf(file));
  const facts = { count: spec.items.length, trainer, run: brief(run ?? spec.name) };
  const opened = text(run === null ? "opened_base" : "opened_run", facts);
  showInfo(file.name, [...instead, opened].join(" "), 8);
}

/**
 * Open the graph of one file. `texts` maps the names of all files that came together to their texts: a config may name
 * the others. Returns the error that says that it is none, or not of which family; null once that is settled, its graph
 * shown or what is wrong with it.
 */
async function openConfig(file, texts, family) {
  const body = requestOf(file, texts, family);
  const { isUtf8 } = texts.get(file.name);
  const refuse = (message = "") => {
    showError(text("not_read", { file: file.name }), `${wrongEncoding(texts)} ${message}`.trim());
  };
  try {
    if (isUtf8) {
      await show(file, body);
    } else {
      await postGraph(body); // is it a config? Some letters of it are lost, so its graph would have other prompts
      refuse();
    }
  } catch (error) {
    if (error.name !== "RouteError") throw error;
    if (["not_config", "family_unknown", "family_open"].includes(error.kind)) return error;
    refuse(error.message);
  }
  return null;
}

/**
 * Open each of these files that is a training config, in a tab of its own; the rest is what they may name. Returns
 * whether there was one. `insist`: the person said that these are configs, so that none is one is an error, too.
 */
async function openFiles(files, texts, insist) {
  const problems = new Map();
  const named = namedByOthers(files, texts);
  const own = files.filter((file) => !named.includes(file));
  const isOpen = (file) => problems.get(file).kind === "family_open";
  let settled = false;
  for (const file of [...own, ...named]) {
    if (named.includes(file) && (settled || [...problems.keys()].some(isOpen))) break; // it belongs to one of those
    const problem = await openConfig(file, texts);
    if (problem === null) settled = true;
    else problems.set(file, problem);
  }
  const isList = (file) => problems.get(file).kind === "family_unknown" && !settled
    && (insist || isPromptList(file, texts.get(file.name).content));
  const asked = [...problems.keys()].filter((file) => isOpen(file) || isList(file));
  if (settled && asked.length === 0) return true;
  if (asked.length > 0) {
    const family = await askFamily(asked[0], problems.get(asked[0]).families);
    for (const file of family === null ? [] : asked) {
      const still = await openConfig(file, texts, family);
      if (still !== null) showError(text("not_read", { file: file.name }), still.message);
    }
    return true;
  }
  if (!insist) return false;
  const [[file, problem]] = problems;
  showError(text("not_read", { file: file.name }), problem.message);
  return true;
}

/** Whatever else goes wrong is a defect; the person hears of it, and the console has it. */
async function reported(files, work) {
  try {
    await work();
  } catch (error) {
    console.error(error);
    showError(text("not_opened", { file: files[0].name }), String(error));
  }
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

/** What is no config goes on to ComfyUI, but for files so large that it could only read them in vain. */
async function openDropped(event, target, files) {
  const large = files.filter(isTooLarge);
  large.forEach(showTooLarge);
  const read = files.filter((file) => isCandidate(file) && file.size <= LARGEST);
  const texts = await textsOf(read);
  const ours = read.filter((file) => {
    const { content } = texts.get(file.name);
    return content.trim() && !(suffixOf(file) === ".json" && isComfyJson(content));
  });
  const done = ours.length > 0 && (await openFiles(ours, texts, false));
  const rest = files.filter((file) => !large.includes(file) && !(done && ours.includes(file)));
  if (rest.length > 0) dropAgain(target, event, rest);
}

function onDrop(event) {
  if (left.has(event) || app.dragOverNode) return; // a node under the pointer takes the file
  const files = [...(event.dataTransfer?.files ?? [])];
  if (!files.some(isCandidate)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const { target } = event; // gone once this returns
  reported(files, () => openDropped(event, target, files));
}

/** Let the person choose a config, and the prompt files that it names. */
function chooseConfig() {
  const input = document.createElement("input");
  Object.assign(input, { type: "file", multiple: true, accept: SUFFIXES.join(",") });
  input.addEventListener("change", () => {
    const files = [...input.files];
    const other = files.find((file) => !isCandidate(file));
    const large = files.find((file) => file.size > LARGEST);
    if (other) showError(text("not_read", { file: other.name }), text("wrong_suffix", { suffixes: SUFFIXES.join(", ") }));
    else if (large) showTooLarge(large);
    else if (files.length > 0) reported(files, async () => openFiles(files, await textsOf(files), true));
  });
  input.click();
}

app.registerExtension({
  name: "eridiffusion.TrainingConfig",
  commands: [
    {
      id: "eridiffusion.OpenTrainingConfig",
      label: () => text("open_config"),
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

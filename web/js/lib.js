// What the pack's scripts share: the route that turns a config into a graph, the canvas, and messages to the person.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { text } from "./strings.js";
import { placeToast } from "./toasts.js";
import { settled } from "./view.js";

/** An answer of the pack's routes that is an error: `kind` in one word, `line`, `column` and `field` where they are
 * known, and the `families` to choose from where it is asked for one. */
export class RouteError extends Error {
  constructor(status, problem) {
    super(problem.on_canvas ?? problem.message);
    this.name = "RouteError";
    this.status = status;
    this.kind = problem.kind;
    this.line = problem.line;
    this.column = problem.column;
    this.field = problem.field;
    this.families = problem.families;
  }
}

/**
 * A route's JSON answer. Throws RouteError with the pack's own message, or with ComfyUI's status where something before
 * the pack answered; status 0 where nothing did.
 */
export async function fetchJson(path, options) {
  let answer;
  try {
    answer = await api.fetchApi(path, options);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what fetch throws without a connection
    throw new RouteError(0, { kind: "host", message: text("no_answer") });
  }
  const body = await answer.text();
  let document = null;
  try {
    document = JSON.parse(body);
  } catch {
    // Not the pack's answer: a proxy's page, or ComfyUI's own plain text. Reported below by its status.
  }
  if (answer.ok && document) return document;
  const status = `${answer.status} ${answer.statusText}`;
  throw new RouteError(answer.status, document?.error ?? { kind: "host", message: text("host_status", { status }) });
}

/**
 * The graph of a config: `{spec, notes, api, ui}`. `body` is the `GraphRequest` of docs/openapi.yaml.
 * Throws as `fetchJson`, with the reader's message.
 */
export function postGraph(body) {
  return postJson("/eridiffusion/graph", body);
}

/** Send a JSON body; throws as `fetchJson`. */
export function postJson(path, body, method = "POST") {
  return fetchJson(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** A run's name as a part of a path. */
export const runPath = (name) => name.split("/").map(encodeURIComponent).join("/");

/** Is dispatched by `api` when another config is kept with a run. */
export const CONFIG_KEPT = "eridiffusion.config";

/** Change what is kept with a run: `what` is "config" (ConfigOfRun of docs/openapi.yaml), "marks" (Mark there), "notes"
 * (Note) or "gallery" (Gallery). */
export async function keepWithRun(what, run, body) {
  const kept = await postJson(`/eridiffusion/run-${what}/${runPath(run)}`, body, "PUT");
  if (what === "config") api.dispatchEvent(new CustomEvent(CONFIG_KEPT));
  return kept;
}

/** The name, numbered where a saved workflow has it: ComfyUI would open that one, and put the graph over it. */
function freeName(name) {
  const { getWorkflowByPath } = app.extensionManager.workflow;
  let free = name;
  for (let number = 2; getWorkflowByPath(`workflows/${free}.json`)?.isPersisted; number += 1) free = `${name} (${number})`;
  return free;
}

/** Put a graph on the canvas under this name, in a new tab; what is open, saved or not, stays as it is. */
export async function openGraph(uiGraph, name) {
  await app.loadGraphData(uiGraph, true, true, freeName(name));
}

/** An error as the front end's own toast; it stays until it is closed. */
export function showError(title, message) {
  app.extensionManager.toast.add({ severity: "error", summary: title, detail: message });
}

/** Something to know, as the front end's own toast, where it covers nothing; it goes after `seconds`. */
export async function showInfo(title, message, seconds = 15) {
  await settled();
  await new Promise(requestAnimationFrame); // and view.js has fitted it
  app.extensionManager.toast.add({ severity: "info", summary: title, detail: message, life: seconds * 1000 });
  placeToast(message);
}

// How far the trainer's samples and those made again are apart. ComfyUI compares one pair at a time, what a person sees
// first; the answers are kept while the page is open.

import { fetchJson, RouteError } from "./lib.js";

const known = new Map(); // key -> promise
const waiting = []; // {key, query, wanted, tell}, the newest last
let asking = false;

/**
 * A promise of the verdict; null where it cannot be had, or where nobody wants it any more once it is due.
 * `wanted()` says whether somebody does.
 */
export function verdictOf(run, ours, theirs, wanted) {
  const key = [run, theirs.file, theirs.version, ours.url, ours.version].join("|");
  if (!known.has(key)) {
    const query = `run=${encodeURIComponent(run)}&file=${encodeURIComponent(theirs.file)}&${ours.url.slice(ours.url.indexOf("?") + 1)}`;
    known.set(key, new Promise((tell) => waiting.push({ key, query, wanted, tell })));
    ask();
  }
  return known.get(key);
}

async function ask() {
  if (asking) return;
  asking = true;
  while (waiting.length > 0) {
    const { key, query, wanted, tell } = waiting.pop();
    const found = wanted() ? await answer(query) : null;
    if (found === null) known.delete(key); // to be asked again
    tell(found);
  }
  asking = false;
}

async function answer(query) {
  try {
    return await fetchJson(`/eridiffusion/verdict?${query}`);
  } catch (error) {
    if (!(error instanceof RouteError)) throw error;
    return { verdict: "", text: error.message, why: "" };
  }
}

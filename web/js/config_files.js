// Training configs as files that a person chose or dropped together: which of them is the config, and what is asked of
// the pack's routes with it.

import { choose } from "./choose.js";
import { keepWithRun, RouteError } from "./lib.js";
import { text } from "./strings.js";

const SCRIPTS = [".sh", ".bat", ".cmd", ".ps1"];
export const SUFFIXES = [".yaml", ".yml", ".toml", ".json", ".jsonc", ".txt", ".env", ".ipynb", ...SCRIPTS];

export const suffixOf = (file) => file.name.slice(Math.max(0, file.name.lastIndexOf("."))).toLowerCase();
export const stemOf = (file) => file.name.replace(/\.\w+$/, "");

/** The texts by the files' names; of one that is not UTF-8 with U+FFFD in place of what is lost. */
export async function textsOf(files) {
  const read = async (file) => {
    const bytes = await file.arrayBuffer();
    try {
      return [file.name, { content: new TextDecoder("utf-8", { fatal: true }).decode(bytes), isUtf8: true }];
    } catch {
      return [file.name, { content: new TextDecoder().decode(bytes), isUtf8: false }];
    }
  };
  return new Map(await Promise.all(files.map(read)));
}

/**
 * The files that are no config of their own: another one that came with them names them. A launch script may leave out
 * the suffix, and is named by none.
 */
export function namedByOthers(files, texts) {
  const isScript = (file) => SCRIPTS.includes(suffixOf(file));
  const names = (other, file) => {
    const { content } = texts.get(other.name);
    if (isScript(other)) return content.includes(stemOf(file));
    return content.split(/[\s"'`,;=:[\](){}/\\]+/).includes(file.name);
  };
  return files.filter((file) => !isScript(file) && files.some((other) => other !== file && names(other, file)));
}

/** Ask which model was trained; null when the person gives up. */
export function askFamily(file, families) {
  return choose(text("family_title", { file: file.name }), text("family_question"), families, text("cancel"));
}

/** The request for one of the files; the config may name the others. */
export function requestOf(file, texts, family) {
  const others = [...texts].filter(([name, other]) => name !== file.name && other.isUtf8);
  const files = Object.fromEntries(others.map(([name, { content }]) => [name, content]));
  return { config: texts.get(file.name).content, source: file.name, files, ...(family ? { family } : {}) };
}

/** What is wrong with the encoding of the files, "" = nothing. */
export function wrongEncoding(texts) {
  const garbled = [...texts].filter(([, any]) => !any.isUtf8).map(([name]) => name);
  return garbled.length > 0 ? text("not_utf8", { files: garbled.join(", ") }) : "";
}

/** Keep the config among these files with a run. Throws RouteError where it is none, or another run's. */
export async function keepChosen(run, files) {
  const texts = await textsOf(files);
  const encoding = wrongEncoding(texts);
  if (encoding) throw new RouteError(0, { kind: "config", message: encoding });
  const named = namedByOthers(files, texts);
  const file = files.find((one) => !named.includes(one)) ?? files[0];
  const keep = (family) => keepWithRun("config", run, requestOf(file, texts, family));
  try {
    await keep();
  } catch (error) {
    if (!error.families) throw error;
    const family = await askFamily(file, error.families);
    if (family !== null) await keep(family);
  }
}

// What the scripts say, in the front end's language: the messages under "eridiffusion" in locales/<language>/main.json.
//
// ComfyUI serves every pack's locales at /i18n for its front end, whose own translation function is not open to
// scripts; and some front ends (1.32.9 among them) lose what packs add to another language than English.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const languages = await (await api.fetchApi("/i18n")).json();

/** The message of this key with `{name}` replaced by `values.name`; English where the language lacks it. */
export function text(key, values = {}) {
  const language = app.extensionManager.setting.get("Comfy.Locale");
  const message = languages[language]?.eridiffusion?.[key] ?? languages.en.eridiffusion[key];
  return message.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

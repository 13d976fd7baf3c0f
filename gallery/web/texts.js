// What the gallery says, in the browser's language as far as the pack has it.

/** The languages that a browser asks for and the gallery has; English last. */
export function language(languages) {
  const wanted = navigator.languages.map((name) => name.toLowerCase().split("-")[0]);
  return wanted.find((name) => languages[name]) ?? "en";
}

/** A function that gives the message of a key with `{name}` replaced by `values.name`. */
export function texts(languages) {
  const chosen = { ...languages.en, ...languages[language(languages)] };
  return (key, values = {}) => chosen[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

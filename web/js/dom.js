// Elements, without ComfyUI: the viewer also works in a page that was saved.

/** An element with properties, attributes and children; names and prompts only ever become text nodes. */
export function make(tag, properties = {}, ...children) {
  const { attributes = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Fill a list with [value, label] pairs; one that says so already is left alone, as it may be open. */
export function setOptions(select, pairs) {
  const shown = [...select.options].map(({ value, textContent }) => [value, textContent]);
  if (JSON.stringify(shown) === JSON.stringify(pairs)) return;
  select.replaceChildren(...pairs.map(([value, label]) => make("option", { value, textContent: label })));
}

/** Put a text on the clipboard, and say whether it is there; where the page came over plain HTTP, browsers have only the old way. */
export async function copy(text, beside = document.body) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false); // a browser may forbid it
  const focused = document.activeElement;
  const field = make("textarea", { value: text });
  beside.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused.focus();
  return done;
}

/** Hand a text out as a file. */
export function saveFile(name, text, type) {
  const href = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href, download: name }).click();
  URL.revokeObjectURL(href);
}

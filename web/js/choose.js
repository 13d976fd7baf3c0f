// A question with one button for each answer; the front end's own dialogs know only "yes" and a line of text.

import { make } from "./dom.js";

const STYLE = `
  .eri-choose { padding: 1.25rem; border: 1px solid var(--border-color); border-radius: 0.5rem; max-width: 32rem;
    background: var(--comfy-menu-bg); color: var(--input-text); font: inherit; margin: auto; }
  .eri-choose::backdrop { background: rgb(0 0 0 / 50%); }
  .eri-choose h2 { margin: 0 0 0.5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
  .eri-choose form { display: flex; flex-wrap: wrap; gap: 0.5rem; margin-top: 1rem; }
  .eri-choose button { padding: 0.5rem 1rem; border: 1px solid var(--border-color); border-radius: 0.375rem;
    background: var(--comfy-input-bg); color: inherit; font: inherit; cursor: pointer; }
  .eri-choose button:hover, .eri-choose button:focus-visible { outline: 2px solid var(--p-primary-color, light-dark(#1a5fb4, #78aeed)); }
`;

/** The id that the person chooses among `options` ({id, title}); null with `cancel` or Escape. */
export function choose(title, question, options, cancel) {
  const button = ({ id, title: label }) => make("button", { value: id }, label);
  const form = make("form", { method: "dialog" }, ...[...options, { id: "", title: cancel }].map(button));
  const parts = [make("style", {}, STYLE), make("h2", {}, title), make("div", {}, question), form];
  const dialog = make("dialog", { className: "eri-choose", ariaLabel: title }, ...parts);
  document.body.append(dialog);
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // the canvas has keys of its own
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue || null);
    });
    dialog.showModal();
  });
}

// What the sidebar tab remembers in this browser.

const KEPT = "eridiffusion.sidebar";

export function readKept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}") ?? {};
  } catch {
    return {}; // Written by something else; what was chosen before is asked for again.
  }
}

export function keep(changes) {
  localStorage.setItem(KEPT, JSON.stringify({ ...readKept(), ...changes }));
}

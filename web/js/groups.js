// The titles of the pack's groups can be read: the front end writes a title in its group's colour, on a bar of 7/16 of
// that colour, so the colour has to be pale where the canvas is dark, and dark where it is pale.

import { app } from "../../../scripts/app.js";

/** Per stage: in a dark theme (as workflows/canvas/stages.py writes it), in a light one, and in a light one of front ends
 * that lighten what is darker than 80 of 255. */
const COLOURS = [
  ["#a8cfee", "#1d3d54", "#33587a"],
  ["#f0d070", "#5a4310", "#6b4f14"],
  ["#eab0e6", "#5c1058", "#803179"],
  ["#a0dcae", "#1b4a27", "#2a6a38"],
  ["#d0d0d0", "#3c3c3c", "#515151"],
  ["#e8c898", "#4d3a18", "#6b4d1f"],
];

const ink = document.createElement("canvas").getContext("2d");

function isDark() {
  ink.fillStyle = app.canvas.clear_background_color; // read back as #rrggbb
  return parseInt(ink.fillStyle.slice(3, 5), 16) < 128;
}

/** Give groups of these colours those of the theme; a colour that a person chose stays. */
function recolour() {
  if (!app.graph) return;
  const lightened = window.LGraphGroup.darkBgLuminanceThreshold !== undefined;
  const theme = isDark() ? 0 : lightened ? 2 : 1;
  for (const graph of [app.graph, ...app.graph.subgraphs.values()]) {
    for (const group of graph._groups) {
      const found = COLOURS.find((colours) => colours.includes(group.color));
      if (found) group.color = found[theme];
    }
  }
  app.canvas.setDirty(true, true);
}

app.registerExtension({
  name: "eridiffusion.Groups",
  setup() {
    // A palette is set as the page's style; front ends up to 1.49 name it in a class, too.
    const watcher = new MutationObserver(() => requestAnimationFrame(recolour));
    watcher.observe(document.documentElement, { attributes: true, attributeFilter: ["style", "class"] });
  },
  afterConfigureGraph: recolour,
});

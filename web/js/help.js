// The tables of help pages fit their panel: in the last column a word that is longer than it goes on in the next line.

const STYLE = document.createElement("style");
STYLE.textContent = ".node-help-content :is(td, th):last-child { overflow-wrap: anywhere; }";
document.head.append(STYLE);

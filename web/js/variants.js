// The sidebar's choice of settings: the samples as trained, or what a sweep made under others.

import { make, setOptions } from "./dom.js";
import { text } from "./strings.js";

export class VariantChoice {
  /** `changed()` shows the run anew. */
  constructor(changed) {
    this.select = make("select", { id: "eri-variant", onchange: changed });
    this.element = make("div", { className: "eri-bar", hidden: true },
      make("label", { htmlFor: this.select.id, textContent: text("variant") }), this.select);
  }

  /** List the settings under which a run (the route's answer) has pictures; the run with those of the chosen ones. */
  of(run) {
    const { variants = [] } = run;
    const choices = [{ key: "", title: text("gallery_as_trained"), axes: {}, samples: run.samples }, ...variants];
    const chosen = choices.find(({ key }) => key === this.select.value) ?? choices[0];
    setOptions(this.select, choices.map(({ key, title }) => [key, title]));
    this.select.value = chosen.key;
    this.element.hidden = variants.length === 0;
    const own = chosen.key === "" ? {} : { samples: chosen.samples, theirs: [], marks: [], notes: [] };
    return { ...run, ...own, choices, chosen };
  }
}

// The sidebar's line about the samples that are being made: how many are done, how long the rest takes, and Stop.

import { make } from "./dom.js";
import { maker } from "./maker.js";
import { text } from "./strings.js";

export class MakingBar {
  /** `changed()` is called when another sample is made, or none any more. */
  constructor(changed) {
    this.said = make("span", { attributes: { role: "status" } });
    this.progress = make("progress", { attributes: { "aria-label": text("making_name") } });
    this.stop = make("button", { className: "eri-plain", type: "button", textContent: text("stop"), onclick: () => maker.stop() });
    this.element = make("div", { className: "eri-bar" }, this.said, this.progress, this.stop);
    this.changed = () => {
      this.show();
      changed();
    };
    maker.addEventListener("change", this.changed);
    this.show();
  }

  dispose() {
    maker.removeEventListener("change", this.changed);
  }

  show() {
    const { busy, failure, done, total } = maker;
    this.element.hidden = !busy && !failure;
    this.progress.hidden = this.stop.hidden = !busy;
    [this.progress.max, this.progress.value] = [Math.max(1, total), done];
    this.said.textContent = this.sentence();
    this.said.classList.toggle("eri-bad", !busy && failure !== "");
  }

  sentence() {
    const { done, total, failure } = maker;
    if (maker.stopping) return text("stopping");
    if (!maker.busy) return failure && text("making_failed", { done, total, reason: failure });
    const minutes = maker.minutesFor(total - done);
    return text(minutes === null ? "making" : "making_left", { done, total, minutes });
  }
}

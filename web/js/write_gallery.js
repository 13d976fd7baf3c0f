// Has ComfyUI write a run's gallery, and says where it is.

import { keepWithRun, RouteError, showError, showInfo } from "./lib.js";
import { text } from "./strings.js";

/** How long it is said where the gallery is, in seconds. */
const SAID = 60;

/** `button` is the one that was pressed; meanwhile it says what is done. */
export async function writeGallery(run, button) {
  button.disabled = true;
  button.textContent = text("gallery_writing");
  try {
    const { page, pictures } = await keepWithRun("gallery", run, {});
    showInfo(text("gallery_written", { pictures }), text("gallery_place", { page }), SAID);
  } catch (error) {
    if (!(error instanceof RouteError)) throw error;
    showError(text("gallery_not_written"), error.message);
  } finally {
    button.disabled = false;
    button.textContent = text("gallery_write");
  }
}

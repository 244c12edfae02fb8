/** The element that full screen shows and an export draws: the instrument alone. */

/** Pixels of an export to one of the page. */
export const SHARP = 2;

class Stage {
  element: HTMLElement | undefined = $state();
  /** For the moment of an export, canvases paint at double size and everything stands where it stands in the page. */
  exporting = $state(false);
}

export const stage = new Stage();

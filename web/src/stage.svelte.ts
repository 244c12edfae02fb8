/** The element that full screen shows and an export draws: the instrument alone. */

class Stage {
  element: HTMLElement | undefined = $state();
  /** Canvases paint at least this many pixels to a CSS pixel; an export asks for more for a moment. */
  sharpness = $state(1);
}

export const stage = new Stage();

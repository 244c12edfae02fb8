/** What full screen shows and what an export draws: the instrument alone, on a screen with what the page has to say. */

/** Pixels of an export to one of the page. */
export const SHARP = 2;

class Stage {
  element: HTMLElement | undefined = $state();
  /** The instrument with the notices above it. */
  screen: HTMLElement | undefined = $state();
  /** Of the tray, which stands over the lower end of the window. */
  trayHeight = $state(0);
  /** For the moment of an export, canvases paint at double size and everything stands where it stands in the page. */
  exporting = $state(false);
}

export const stage = new Stage();

/** Keeps the spoken sentence in sight, gently, unless the reader has scrolled away. */

class Follow {
  /** Set by the player while it speaks and the reader has not scrolled away. */
  on = $state(false);

  show(element: HTMLElement): void {
    if (!this.on) return;
    const { top, bottom } = element.getBoundingClientRect();
    if (top > innerHeight * 0.1 && bottom < innerHeight * 0.5) return;
    const behavior = matchMedia('(prefers-reduced-motion: reduce)').matches ? 'instant' : 'smooth';
    // The upper third: the instrument that the sentence speaks of stands below it.
    scrollTo({ top: scrollY + top - innerHeight * 0.25, behavior });
  }
}

export const follow = new Follow();

/** Keeps the spoken sentence in sight, gently, unless the reader has scrolled away. */

/** Room at the window's foot that the player takes, and a margin. */
const [FOOT, EDGE] = [70, 16];

interface Extent {
  top: number;
  bottom: number;
}

/** By how much to scroll so that both are seen, or where that is too much the instrument; null where they are. */
function topFor(sentence: Extent, instrument: Extent): number | null {
  const [top, bottom] = [Math.min(sentence.top, instrument.top), Math.max(sentence.bottom, instrument.bottom)];
  const low = innerHeight - FOOT;
  if (bottom - top <= low - EDGE) return top >= EDGE && bottom <= low ? null : top - Math.max(EDGE, (low - (bottom - top)) / 3);
  const own = instrument.bottom - instrument.top;
  if (instrument.top >= EDGE && (instrument.bottom <= low || own > low)) return instrument.top < low / 2 ? null : instrument.top - EDGE;
  return own <= low - EDGE && instrument.top > EDGE ? instrument.bottom - low : instrument.top - EDGE;
}

class Follow {
  /** Set by the player while it speaks and the reader has not scrolled away. */
  on = $state(false);

  /** `sets`: the instrument that the sentence sets, if it sets one. It is to be seen, and where both fit so is the sentence. */
  show(element: HTMLElement, sets: HTMLElement | null = null): void {
    if (!this.on) return;
    const { top, bottom } = element.getBoundingClientRect();
    const to = sets ? topFor({ top, bottom }, sets.getBoundingClientRect()) : top > innerHeight * 0.1 && bottom < innerHeight * 0.5 ? null : top - innerHeight * 0.25;
    if (to === null) return;
    const behavior = matchMedia('(prefers-reduced-motion: reduce)').matches ? 'instant' : 'smooth';
    scrollTo({ top: scrollY + to, behavior });
  }
}

export const follow = new Follow();

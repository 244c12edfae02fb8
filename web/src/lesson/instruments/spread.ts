/** Every head as a dot by its layer: places, scales, and the keys that walk them. */

export interface Spread {
  /** [layer · n_head + head]. */
  values: ArrayLike<number>;
  n_head: number;
}

export const BOX = { width: 720, height: 320, left: 44, right: 10, top: 26, bottom: 34 };

/** From −1 or −0.25 to 1: 1 is always in sight, and so is every dot. */
export function lowest(values: ArrayLike<number>): number {
  const least = Math.min(...Array.from(values));
  return [-0.25, -0.5, -0.75].find((end) => end <= least) ?? -1;
}

export function ticksFrom(low: number): number[] {
  return Array.from({ length: Math.round((1 - low) / 0.25) + 1 }, (_, i) => low + 0.25 * i);
}

/** Where a layer's dots stand: the heads left of the middle of its column, the random ones right of it. */
export function atX(layer: number, layers: number, random = false): number {
  const column = (BOX.width - BOX.left - BOX.right) / layers;
  return BOX.left + column * (layer + (random ? 0.72 : 0.36));
}

export function atY(value: number, low: number): number {
  return BOX.height - BOX.bottom - ((value - low) / (1 - low)) * (BOX.height - BOX.top - BOX.bottom);
}

/** The head nearest to a point of the box. */
export function nearest({ values, n_head }: Spread, x: number, y: number): number {
  const [low, layers] = [lowest(values), values.length / n_head];
  const away = Array.from(values, (value, i) => Math.hypot(atX(Math.floor(i / n_head), layers) - x, atY(value, low) - y));
  return away.indexOf(Math.min(...away));
}

/** Where an arrow key leads: to the next value in the layer, or to the head with the nearest value in the next layer. */
export function walk({ values, n_head }: Spread, from: number, key: string): number | null {
  const layer = Math.floor(from / n_head);
  const of = (one: number) => Array.from({ length: n_head }, (_, i) => one * n_head + i).sort((a, b) => values[a]! - values[b]!);
  if (key === 'ArrowUp' || key === 'ArrowDown') {
    const heads = of(layer);
    return heads[heads.indexOf(from) + (key === 'ArrowUp' ? 1 : -1)] ?? from;
  }
  if (key !== 'ArrowLeft' && key !== 'ArrowRight') return null;
  const to = layer + (key === 'ArrowRight' ? 1 : -1);
  if (to < 0 || to >= values.length / n_head) return from;
  return of(to).reduce((best, head) => (Math.abs(values[head]! - values[from]!) < Math.abs(values[best]! - values[from]!) ? head : best));
}

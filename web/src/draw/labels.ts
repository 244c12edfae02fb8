/** Where labels of points go so that they do not lie on one another: each tries the places around its point. */

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Wanted {
  id: string;
  text: string;
  x: number;
  y: number;
  /** How far from the point the text begins. */
  gap: number;
  /** Drawn even where there is no free place. */
  must: boolean;
}

export interface Placed extends Wanted {
  box: Box;
  side: number;
  /** It stands farther away, because there was no place close by. */
  apart: boolean;
}

/** Directions from the point to its label, the best one first; then the same again, farther away. */
const SIDES: [x: number, y: number][] = [[1, -0.7], [1, 0], [1, 0.7], [0, -1], [-1, -0.7], [-1, 0], [-1, 0.7], [0, 1]]; // prettier-ignore
const APART = 14;
/** Between two labels on one line, so that they do not read as one word. */
const BETWEEN = 5;
const COST = { label: 1000, outside: 800, obstacle: 60, side: 1, apart: 12, moved: 6 };

/**
 * Labels in order of importance. `sides` remembers where each stood, so that it stays there while it can. One that need not
 * be there is left out where it would lie on another, and with `clear` also where it would cover an obstacle.
 */
export function placeLabels(
  wanted: readonly Wanted[],
  measure: (text: string) => number,
  lineHeight: number,
  picture: Box,
  obstacles: readonly Box[],
  sides: Map<string, number>,
  clear = false,
): Placed[] {
  const placed: Placed[] = [];
  for (const label of wanted) {
    const width = measure(label.text);
    const near = obstacles.filter((box) => overlap(box, reachOf(label, width, lineHeight)));
    const options = [...SIDES, ...SIDES].map((_, side) => {
      const box = boxAt(label, side, width, lineHeight);
      return { ...label, box, side, apart: side >= SIDES.length, cost: costOf(box, side, picture, placed, near, sides.get(label.id)) };
    });
    const { cost, ...best } = options.reduce((a, b) => (b.cost < a.cost ? b : a));
    if (cost >= (clear ? COST.obstacle : COST.outside) && !label.must) continue;
    sides.set(label.id, best.side);
    placed.push({ ...best, box: inside(best.box, picture) });
  }
  return placed;
}

/** What the label covers of the picture, on whichever side it stands. */
function reachOf({ x, y, gap }: Wanted, width: number, height: number): Box {
  const [across, up] = [gap + APART + width, gap + APART + height];
  return { x: x - across, y: y - up, width: 2 * across, height: 2 * up };
}

function boxAt({ x, y, gap: close }: Wanted, side: number, width: number, height: number): Box {
  const [dx, dy] = SIDES[side % SIDES.length]!;
  const gap = side < SIDES.length ? close : close + APART;
  const left = dx > 0 ? x + gap : dx < 0 ? x - gap - width : x - width / 2;
  return { x: left, y: y + dy * (gap + height / 2) - height / 2, width, height };
}

function costOf(box: Box, side: number, picture: Box, placed: Placed[], obstacles: readonly Box[], before?: number): number {
  const clash = placed.filter((other) => overlap({ ...box, x: box.x - BETWEEN, width: box.width + 2 * BETWEEN }, other.box)).length;
  const hit = obstacles.filter((other) => overlap(box, other)).length;
  const out = liesWithin(box, picture) ? 0 : 1;
  const moved = before !== undefined && before !== side ? 1 : 0;
  const far = side < SIDES.length ? 0 : COST.apart;
  return COST.label * clash + COST.outside * out + COST.obstacle * hit + COST.side * (side % SIDES.length) + far + COST.moved * moved;
}

function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

function liesWithin(box: Box, picture: Box): boolean {
  const right = box.x + box.width <= picture.x + picture.width;
  return box.x >= picture.x && box.y >= picture.y && right && box.y + box.height <= picture.y + picture.height;
}

function inside(box: Box, picture: Box): Box {
  const x = Math.max(picture.x, Math.min(box.x, picture.x + picture.width - box.width));
  return { ...box, x, y: Math.max(picture.y, Math.min(box.y, picture.y + picture.height - box.height)) };
}

/** The match plane at one moment: where the visible keys and the query stand, and how that fits a picture. */
import { reaches, type Acting, type Floats, type HeadModel } from './mechanism';
import type { Plane, Point } from './planes';
import { strongest } from './view';

/** A picture of a plane: origin and pixels per unit. The query has its own scale: only its direction meets the keys. */
export interface Frame {
  width: number;
  height: number;
  x: number;
  y: number;
  perKey: number;
  perQuery: number;
}

/** What one step along q in the plane adds to a score: 1/√d, times the temperatures at work. */
export function slopeOf(model: HeadModel, acting: readonly Acting[]): number {
  return acting.reduce((slope, edit) => {
    const acts = edit.kind === 'scale-scores' && reaches(edit, model.layer, model.head);
    return acts ? slope * (1 + edit.strength * (edit.factor - 1)) : slope;
  }, model.scale);
}

const ROUNDING = 1e-9;

/** What each visible key's score has beside its place in the plane: other directions, strengthened pairs, mutes. */
export function biasesOf(scores: Floats, points: Float64Array, [x, y]: Point, slope: number): Float64Array {
  const biases = Float64Array.from(scores, (score, j) => score - slope * (x * points[2 * j]! + y * points[2 * j + 1]!));
  const base = biases.find(Number.isFinite) ?? 0;
  // Rounding must not part keys whose biases are equal: far out in the plane it would decide who wins.
  return biases.map((bias) => (Math.abs(bias - base) < ROUNDING * (1 + Math.abs(base)) ? base : bias));
}

/** The key of interest of a plane: the chosen one if the query sees it, else the strongest other than the winner. */
export function interestOf(chosen: number | null, weights: Floats, first: number, last: number): number {
  if (chosen !== null && chosen >= first && chosen < last) return chosen;
  let [winner, second] = [first, -1];
  for (let j = first + 1; j < last; j++) {
    if (weights[j]! > weights[winner]!) [winner, second] = [j, winner];
    else if (second < 0 || weights[j]! > weights[second]!) second = j;
  }
  return second < 0 ? winner : second;
}

const LISTED = 64;

/** The keys a table tells of, in order: all of a short text, of a long one the strongest and the one of interest. */
export function listedKeys(weights: Float64Array, interest: number): number[] {
  if (weights.length <= LISTED) return [...weights.keys()];
  return [...new Set([...strongest(weights, LISTED), interest])].sort((a, b) => a - b);
}

const EDGE = 26;
/** To the right of the query's arrow stands the name of the axis. */
const AXIS_NAME = 34;

/** A frame in which all points and the ends of the query's arrow have room. Points are x0, y0, x1, y1, … */
export function fitFrame(points: Floats, queries: Point[], width: number, height: number): Frame {
  let [left, right, bottom, top] = [0, 0, 0, 0];
  for (let j = 0; j < points.length; j += 2) {
    [left, right] = [Math.min(left, points[j]!), Math.max(right, points[j]!)];
    [bottom, top] = [Math.min(bottom, points[j + 1]!), Math.max(top, points[j + 1]!)];
  }
  right = Math.max(right, -left * 0.7);
  const [wide, high] = [width - 2 * EDGE, height - 2 * EDGE];
  const perKey = Math.min(wide / (right - left || 1), high / (top - bottom || 1));
  const x = EDGE - left * perKey + (wide - (right - left) * perKey) / 3;
  const y = EDGE + top * perKey + (high - (top - bottom) * perKey) / 2;
  const room = queries.flatMap(([qx, qy]) => [
    (qx > 0 ? width - EDGE - AXIS_NAME - x : x - EDGE) / Math.abs(qx),
    (qy > 0 ? y - EDGE : height - EDGE - y) / Math.abs(qy),
  ]);
  const reach = Math.min(...room.filter(Number.isFinite));
  return { width, height, x, y, perKey, perQuery: Number.isFinite(reach) ? reach : perKey };
}

export function toScreen(frame: Frame, per: number, [x, y]: Point): Point {
  return [frame.x + x * per, frame.y - y * per];
}

/** The point of the plane under a place of the picture, kept inside the picture; on the axis where there is only one. */
export function fromScreen(frame: Frame, per: number, plane: Plane, [x, y]: Point): Point {
  const within = (value: number, most: number) => Math.min(most - EDGE, Math.max(EDGE, value));
  const wide = per === frame.perQuery ? frame.width - AXIS_NAME : frame.width;
  const across = (within(x, wide) - frame.x) / per;
  return [across, plane.axes.length > 1 ? (frame.y - within(y, frame.height)) / per : 0];
}

/** The point nearest to a place of the picture, at most `reach` pixels away; -1 if there is none. */
export function nearest(frame: Frame, points: Floats, [x, y]: Point, reach: number): number {
  let [best, least] = [-1, reach];
  for (let j = 0; j < points.length / 2; j++) {
    const [px, py] = toScreen(frame, frame.perKey, [points[2 * j]!, points[2 * j + 1]!]);
    const distance = Math.hypot(px - x, py - y);
    if (distance <= least) [best, least] = [j, distance];
  }
  return best;
}

/** Does a convex polygon, counter-clockwise, hold the point? A tolerance in units of the plane covers rounding. */
export function holds(polygon: readonly Point[], [x, y]: Point, tolerance: number): boolean {
  return polygon.every(([ax, ay], i) => {
    const [bx, by] = polygon[(i + 1) % polygon.length]!;
    const side = Math.hypot(bx - ax, by - ay);
    const area = (bx - ax) * (y - ay) - (by - ay) * (x - ax);
    return side === 0 ? Math.hypot(x - ax, y - ay) <= tolerance : area >= -tolerance * side;
  });
}

/** Which key wins where in a plane, which can win at all, and a blend's polygon. Points are x0, y0, x1, y1, … */
import type { Floats } from './mechanism';
import { place, type Plane, type Point, type Span } from './planes';

/** Biases that differ by less are the same but for rounding. */
const EQUAL = 1e-7;

/**
 * For each key, the polygon in which it has the highest score if the query pointed there, within the square of a
 * half-side; empty where it wins nowhere.
 * Key j scores scale · (point of the query · point_j) + bias_j: strengthened keys have a bias, muted ones -Infinity.
 */
export function winningRegions(points: Float64Array, biases: Floats, scale: number, halfSide: number): Point[][] {
  const able = contenders(points, biases);
  const regions: Point[][] = Array.from(biases, () => []);
  for (const j of able.winners) regions[j] = region(j, able.rivals, points, biases, scale, halfSide);
  return regions;
}

/** Who may win, and whom each of them must beat, the strong ones first. With equal biases only corners of the hull win. */
function contenders(points: Float64Array, biases: Floats): { winners: number[]; rivals: number[] } {
  const seen = Array.from(biases.keys()).filter((j) => biases[j] !== -Infinity);
  const corners = hull(points, seen);
  const spread = seen.reduce((most, j) => Math.max(most, Math.abs(biases[j]! - biases[seen[0]!]!)), 0);
  const place = (j: number) => `${points[2 * j]} ${points[2 * j + 1]}`;
  const taken = new Set(corners.map(place)); // several keys may stand on one corner
  if (spread < EQUAL) return { winners: seen.filter((j) => taken.has(place(j))), rivals: corners };
  return { winners: seen, rivals: [...new Set([...corners, ...seen])] };
}

/** Is there any place in the plane where no key beats this one? Without biases: is it a corner of the hull? */
export function canWin(points: Float64Array, biases: Floats, scale: number): boolean[] {
  const finite = biases.filter((bias) => bias !== -Infinity);
  const spread = Math.max(...points.map(Math.abs)) || 1;
  const offset = Math.max(1, Math.max(...finite) - Math.min(...finite));
  const far = (1e6 * offset) / (scale * spread);
  return winningRegions(points, biases, scale, far).map((polygon) => area(polygon) > 0);
}

/** The corners of the convex hull, counter-clockwise from the leftmost; points on its sides are not corners. */
export function hull(points: Float64Array, among = Array.from({ length: points.length / 2 }, (_, j) => j)): number[] {
  const apart = (a: number, b: number) => points[2 * a]! - points[2 * b]! || points[2 * a + 1]! - points[2 * b + 1]!;
  const sorted = [...among].sort(apart);
  const order = sorted.filter((j, rank) => rank === 0 || apart(sorted[rank - 1]!, j) !== 0);
  const lower = halfHull(points, order);
  const upper = halfHull(points, order.reverse());
  const corners = [...lower.slice(0, -1), ...upper.slice(0, -1)];
  return corners.length > 0 ? corners : order.slice(0, 1);
}

/** The polygon of the visible values, in which their blend lies; with `origin`, 0 joins (sinks, an ablated z). */
export function blendPolygon(plane: Plane, values: Floats, span: Span, origin: boolean): Point[] {
  const d = plane.mean.length;
  const seen = place(plane, values.subarray(span.first * d, span.last * d));
  const points = origin ? Float64Array.of(...seen, ...place(plane, new Float64Array(d))) : seen;
  return hull(points).map((j) => [points[2 * j]!, points[2 * j + 1]!]);
}

function halfHull(points: Float64Array, order: number[]): number[] {
  const chain: number[] = [];
  for (const j of order) {
    while (chain.length > 1 && cross(points, chain.at(-2)!, chain.at(-1)!, j) <= 0) chain.pop();
    chain.push(j);
  }
  return chain;
}

function cross(p: Float64Array, a: number, b: number, c: number): number {
  const [ax, ay] = [p[2 * a]!, p[2 * a + 1]!];
  return (p[2 * b]! - ax) * (p[2 * c + 1]! - ay) - (p[2 * b + 1]! - ay) * (p[2 * c]! - ax);
}

/** Where key j wins: a square, cut by the half-plane in which it beats each other key. */
function region(j: number, able: number[], points: Float64Array, biases: Floats, scale: number, side: number): Point[] {
  let polygon: Point[] = [[-side, -side], [side, -side], [side, side], [-side, side]];
  for (const i of able) {
    if (polygon.length === 0) break;
    const a = scale * (points[2 * j]! - points[2 * i]!);
    const b = scale * (points[2 * j + 1]! - points[2 * i + 1]!);
    const c = biases[j]! - biases[i]!;
    if (a !== 0 || b !== 0 || c !== 0) polygon = clip(polygon, a, b, c);
  }
  return polygon;
}

/** The part of a convex polygon where a x + b y + c > 0. */
function clip(polygon: Point[], a: number, b: number, c: number): Point[] {
  const lead = polygon.map(([x, y]) => a * x + b * y + c);
  return polygon.flatMap((corner, i): Point[] => {
    const next = (i + 1) % polygon.length;
    const kept: Point[] = lead[i]! > 0 ? [corner] : [];
    if (lead[i]! > 0 !== lead[next]! > 0) {
      const t = lead[i]! / (lead[i]! - lead[next]!);
      const [x, y] = polygon[next]!;
      kept.push([corner[0] + t * (x - corner[0]), corner[1] + t * (y - corner[1])]);
    }
    return kept;
  });
}

function area(polygon: Point[]): number {
  const sum = polygon.reduce((total, [x, y], i) => {
    const [nextX, nextY] = polygon[(i + 1) % polygon.length]!;
    return total + x * nextY - nextX * y;
  }, 0);
  return sum / 2;
}

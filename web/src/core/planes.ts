/**
 * The planes in which a person drags. Softmax does not notice what all keys share, so the match plane lies among the
 * centred keys k_j - k̄ of the keys a query sees; its horizontal axis is the query's own direction within their span.
 * All the query's score differences lie on that axis, so a query dragged in the plane has exactly the scores it shows.
 */
import { principal } from './eigen';
import { addScaled, norm, orthonormal, residual, scaled } from './linalg';
import { dot, type Floats } from './mechanism';

export type Point = [x: number, y: number];

/** Visible rows: from `first` to before `last`. */
export interface Span {
  first: number;
  last: number;
}

/** Why a plane has fewer than two axes, or not the usual ones. */
export type Flaw = 'one key' | 'equal keys' | 'two keys' | 'one line' | 'query at right angles';

export interface Plane {
  kind: 'query' | 'principal' | 'values';
  /** The point that is drawn at the origin: the mean of the visible rows. */
  mean: Float64Array;
  /** Orthonormal; at most two. */
  axes: Float64Array[];
  /** How much of the variance the plane carries: of this query's scores, or of the values. */
  share: number;
  flaw: Flaw | null;
}

const TOLERANCE = 1e-6;

/** The match plane of one query: to the right its own direction, upwards what the key of interest adds to it. */
export function queryPlane(q: Floats, keys: Floats, span: Span, interest: number, previous?: Plane): Plane {
  const { mean, rows } = centred(keys, q.length, span);
  const basis = orthonormal(rows, TOLERANCE);
  const flaw = flawOf(rows, basis.length);
  if (basis.length === 0) return { kind: 'query', mean, axes: [], share: 1, flaw };
  const own = new Float64Array(q.length);
  for (const direction of basis) addScaled(own, direction, dot(direction, q));
  const seen = norm(own) > TOLERANCE * norm(q);
  const across = seen ? scaled(own, 1 / norm(own)) : basis[0]!;
  const up = upwards(rows, across, interest - span.first);
  const axes = up ? [across, likeBefore(up, previous?.axes[1])] : [across];
  return { kind: 'query', mean, axes, share: 1, flaw: seen ? flaw : 'query at right angles' };
}

/** The two directions along which the visible keys vary most, with the share of this query's score variance there. */
export function principalPlane(q: Floats, keys: Floats, span: Span, previous?: Plane): Plane {
  const { mean, rows } = centred(keys, q.length, span);
  const { directions, variances } = principal(rows, 2);
  const axes = directions.map((axis, i) => likeBefore(dot(axis, q) < 0 ? scaled(axis, -1) : axis, previous?.axes[i]));
  const carried = axes.reduce((sum, axis, i) => sum + dot(axis, q) ** 2 * variances[i]!, 0);
  const all = rows.reduce((sum, row) => sum + dot(row, q) ** 2, 0);
  return { kind: 'principal', mean, axes, share: all === 0 ? 1 : carried / all, flaw: flawOf(rows, axes.length) };
}

/** The blend plane: the two directions along which the visible values vary most. */
export function valuePlane(values: Floats, d: number, span: Span, previous?: Plane): Plane {
  const { mean, rows } = centred(values, d, span);
  const { directions, variances, total } = principal(rows, 2);
  const axes = directions.map((axis, i) => likeBefore(largestUp(axis), previous?.axes[i]));
  const carried = variances.reduce((sum, variance) => sum + variance, 0);
  return { kind: 'values', mean, axes, share: total === 0 ? 1 : carried / total, flaw: flawOf(rows, axes.length) };
}

/** Where keys or values (one or many rows) stand in the plane: x0, y0, x1, y1, … */
export function place(plane: Plane, rows: Floats): Float64Array {
  const d = plane.mean.length;
  const points = new Float64Array((2 * rows.length) / d);
  plane.axes.forEach((axis, a) => {
    const middle = dot(axis, plane.mean);
    for (let j = 0; j < rows.length / d; j++) points[2 * j + a] = dot(axis, rows, j * d) - middle;
  });
  return points;
}

/** Where the query's arrow ends: its components along the axes. Score differences: scale · point · (place - place). */
export function queryPoint(plane: Plane, q: Floats): Point {
  const [x, y] = plane.axes.map((axis) => dot(axis, q));
  return [x ?? 0, y ?? 0];
}

/** What a drag from one point of the plane to another adds to a query or a key. */
export function shiftFor(plane: Plane, from: Point, to: Point): Float64Array {
  const shift = new Float64Array(plane.mean.length);
  plane.axes.forEach((axis, a) => addScaled(shift, axis, to[a]! - from[a]!));
  return shift;
}

function centred(rows: Floats, d: number, { first, last }: Span): { mean: Float64Array; rows: Float64Array[] } {
  const seen = Array.from({ length: last - first }, (_, j) => new Float64Array(rows.subarray((first + j) * d, (first + j + 1) * d)));
  const mean = new Float64Array(d);
  for (const row of seen) addScaled(mean, row, 1 / seen.length);
  return { mean, rows: seen.map((row) => addScaled(row, mean, -1)) };
}

function flawOf(rows: readonly Float64Array[], rank: number): Flaw | null {
  if (rank >= 2) return null;
  if (rows.length === 1) return 'one key';
  if (rank === 0) return 'equal keys';
  return rows.length === 2 ? 'two keys' : 'one line';
}

/** What the key of interest adds at right angles; where it adds nothing, the key that adds most. */
function upwards(rows: readonly Float64Array[], across: Float64Array, interest: number): Float64Array | null {
  const longest = Math.max(...rows.map(norm));
  const up = (row: Float64Array | undefined) => {
    const left = residual(row ?? across, [across]);
    const length = norm(left);
    return length > TOLERANCE * longest ? scaled(left, 1 / length) : null;
  };
  const height = (row: Float64Array) => norm(residual(row, [across]));
  return up(rows[interest]) ?? up(rows.reduce((a, b) => (height(b) > height(a) ? b : a)));
}

/** An axis may be drawn either way round: the way it was before the keystroke. */
function likeBefore(axis: Float64Array, previous: Float64Array | undefined): Float64Array {
  return previous?.length === axis.length && dot(axis, previous) < 0 ? scaled(axis, -1) : axis;
}

function largestUp(axis: Float64Array): Float64Array {
  const largest = axis.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
  return largest < 0 ? scaled(axis, -1) : axis;
}

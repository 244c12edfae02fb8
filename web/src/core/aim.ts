/** The smallest change of a query with which a chosen key wins: the method of qkvlab/aim.py, here to answer at once. */
import { addScaled, norm, residual } from './linalg';
import { dot, type Floats } from './mechanism';
import type { Span } from './planes';

/** No query makes that key win. */
export class AimError extends Error {
  override name = 'AimError';
}

/**
 * The shift of least norm after which `key` beats every other visible key by at least `margin` in score: least distance
 * programming as non-negative least squares (Lawson & Hanson 1974, chapter 23).
 */
export function aim(q: Floats, keys: Floats, span: Span, key: number, scale: number, margin = 3): Float64Array {
  const d = q.length;
  const chosen = keys.subarray(key * d, (key + 1) * d);
  const others = Array.from({ length: span.last - span.first }, (_, j) => span.first + j).filter((j) => j !== key);
  const gaps = others.map((j) => Float64Array.from(chosen, (x, i) => scale * (x - keys[j * d + i]!)));
  const missing = gaps.map((gap) => margin - dot(q, gap));
  if (missing.every((h) => h <= 0)) return new Float64Array(d);
  const size = Math.max(...gaps.map(norm));
  if (size === 0) throw new AimError('all visible keys are equal, so no query can tell them apart');
  const reach = Math.max(...missing.map(Math.abs));
  const columns = gaps.map((gap, j) => Float64Array.of(...gap.map((x) => x / size), missing[j]! / reach));
  const target = new Float64Array(d + 1);
  target[d] = 1;
  const left = scaledSum(columns, nonnegativeLeastSquares(columns, target));
  addScaled(left, target, -1);
  if (left[d]! > -1e-9) throw new AimError('no query makes that key win: it lies inside the hull of the other keys');
  return left.subarray(0, d).map((x) => (-x / left[d]!) * (reach / size));
}

/** u ≥ 0 that minimises |Σ u_j column_j - target|: the active-set method (Lawson & Hanson 1974, algorithm NNLS). */
export function nonnegativeLeastSquares(columns: readonly Float64Array[], target: Float64Array): Float64Array {
  const u = new Float64Array(columns.length);
  const passive = new Set<number>();
  const tolerance = 1e-11 * Math.max(1, ...columns.map((column) => Math.max(...column.map(Math.abs))));
  for (let round = 0; round < 10 * (u.length + 1); round++) {
    const left = addScaled(Float64Array.from(target), scaledSum(columns, u), -1);
    const gradient = columns.map((column, j) => (passive.has(j) ? -Infinity : dot(column, left)));
    const steepest = gradient.reduce((best, g, j) => (g > gradient[best]! ? j : best), 0);
    if (passive.size === u.length || gradient[steepest]! <= tolerance) break;
    passive.add(steepest);
    while (!stepTowards(u, passive, leastSquares(columns, [...passive], target)));
  }
  return u;
}

/** Move u to the trial as far as it stays positive; true if that was all the way. */
function stepTowards(u: Float64Array, passive: Set<number>, trial: Map<number, number>): boolean {
  const falling = [...trial].filter(([, value]) => value <= 0);
  const step = Math.min(1, ...falling.map(([j, value]) => (u[j] === 0 ? 0 : u[j]! / (u[j]! - value))));
  for (const [j, value] of trial) u[j]! += step * (value - u[j]!);
  if (falling.length === 0) return true;
  for (const j of [...passive]) {
    if (u[j]! > 1e-14) continue;
    u[j] = 0;
    passive.delete(j);
  }
  return false;
}

/** The least-squares weights of some columns: Gram-Schmidt, then back substitution. A dependent column gets 0. */
function leastSquares(columns: readonly Float64Array[], chosen: number[], target: Float64Array): Map<number, number> {
  const basis: { j: number; direction: Float64Array; length: number }[] = [];
  for (const j of chosen) {
    const left = residual(columns[j]!, basis.map(({ direction }) => direction));
    const length = norm(left);
    if (length > 1e-13 * norm(columns[j]!)) basis.push({ j, direction: left.map((x) => x / length), length });
  }
  const weights = new Map(chosen.map((j) => [j, 0]));
  const rest = Float64Array.from(target);
  for (const { j, direction, length } of basis.reverse()) {
    const weight = dot(direction, rest) / length;
    weights.set(j, weight);
    addScaled(rest, columns[j]!, -weight);
  }
  return weights;
}

function scaledSum(columns: readonly Float64Array[], u: Float64Array): Float64Array {
  const sum = new Float64Array(columns[0]!.length);
  u.forEach((weight, j) => weight !== 0 && addScaled(sum, columns[j]!, weight));
  return sum;
}

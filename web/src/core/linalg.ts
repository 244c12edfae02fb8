/**
 * The little linear algebra the planes need, in float64. Rows are the rows of a row-major array. What runs in inner loops
 * takes Float64Array alone: a browser makes such a loop several times as fast as one that may meet two kinds of array.
 */
import { dot, type Floats } from './mechanism';

export function inner(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

export function norm(a: Floats): number {
  return Math.sqrt(dot(a, a));
}

/** a += factor · b, in place. */
export function addScaled(a: Float64Array, b: Float64Array, factor: number): Float64Array {
  for (let i = 0; i < a.length; i++) a[i]! += factor * b[i]!;
  return a;
}

export function scaled(a: Floats, factor: number): Float64Array {
  return new Float64Array(a).map((x) => x * factor);
}

/** What is left of a vector at right angles to orthonormal directions; taken twice, against rounding. */
export function residual(vector: Floats, basis: readonly Float64Array[]): Float64Array {
  const left = new Float64Array(vector);
  for (let pass = 0; pass < 2; pass++) for (const b of basis) addScaled(left, b, -inner(b, left));
  return left;
}

/** An orthonormal basis of the rows' span; what is shorter than `tolerance` · the longest row counts as nothing. */
export function orthonormal(rows: readonly Float64Array[], tolerance = 1e-6): Float64Array[] {
  const longest = Math.max(0, ...rows.map(norm));
  const basis: Float64Array[] = [];
  for (const row of rows) {
    if (basis.length === row.length) break;
    const left = residual(row, basis);
    const length = norm(left);
    if (length > tolerance * longest) basis.push(scaled(left, 1 / length));
  }
  return basis;
}

/** Small sums over vectors, and their strips as one SVG path. */
import { dot, type Floats } from '../../core/mechanism';

export function lengthOf(values: Floats): number {
  return Math.sqrt(dot(values, values));
}

export function largest(values: Floats): number {
  return Math.max(0, ...Array.from(values, Math.abs));
}

export function farthest(one: Floats, other: Floats): number {
  return Math.max(0, ...Array.from(one, (value, i) => Math.abs(value - other[i]!)));
}

/** x · W (+ b): x [d_model], W [d_model, d_head] row by row → [d_head]. */
export function project(x: Floats, w: Floats, bias: Floats | null): Float64Array {
  const d = w.length / x.length;
  const out = new Float64Array(d);
  for (let i = 0; i < x.length; i++) for (let j = 0; j < d; j++) out[j]! += x[i]! * w[i * d + j]!;
  return bias ? out.map((value, j) => value + bias[j]!) : out;
}

/** Bars around a middle at 0; one unit across for each value, from -1 to 1 down. */
export function strip(values: Floats, top: number): string {
  let path = '';
  values.forEach((value, i) => (path += `M${(i + 0.14).toFixed(2)} 0h.72v${(-value / (top || 1)).toFixed(4)}h-.72z`));
  return path;
}

/** Each head's length along the sum of all: (w · out) / |out|. `heads` [n_head, d_model], out [d_model] → [n_head]. */
export function alongSum(heads: Floats, out: Floats): number[] {
  const [d, whole] = [out.length, lengthOf(out) || 1];
  return Array.from({ length: heads.length / d }, (_, h) => dot(out, heads, h * d) / whole);
}

/** Vectors that add up, seen along their sum. */
import type { Floats } from '../../core/mechanism';

export interface Part {
  /** Where the sum so far stands along the whole, before and after this part. */
  from: number;
  to: number;
  /** The part's own length. */
  length: number;
}

/** Each head's write, [head · d_model], and the bias, along what attention writes in the end, [d_model]. */
export function alongSum(heads: Floats, bias: Floats | null, out: Floats): { parts: Part[]; heads: number; length: number } {
  const d = out.length;
  const length = lengthOf(out);
  const count = heads.length / d;
  const vectors = [...Array.from({ length: count }, (_, head) => heads.subarray(head * d, (head + 1) * d)), ...(bias ? [bias] : [])];
  let at = 0;
  const parts = vectors.map((vector): Part => {
    const from = at;
    at += length === 0 ? 0 : inner(vector, out) / length;
    return { from, to: at, length: lengthOf(vector) };
  });
  return { parts, heads: count, length };
}

function inner(a: Floats, b: Floats): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function lengthOf(vector: Floats): number {
  return Math.sqrt(inner(vector, vector));
}

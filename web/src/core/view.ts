/** How weights are looked at: views, not edits. The model computes with every token. */
import type { Floats } from './mechanism';

/** The weights without the first token's, renormalised to a sum of 1: what a sink would otherwise drown. */
export function withoutFirst(weights: Float64Array): Float64Array {
  const rest = weights.slice();
  rest[0] = 0;
  const total = rest.reduce((a, b) => a + b, 0);
  return total === 0 ? rest : rest.map((weight) => weight / total);
}

/** The strongest indices, strongest first; zeros are none. */
export function strongest(weights: Floats, most: number): number[] {
  const found: number[] = [];
  weights.forEach((weight, j) => {
    if (!(weight > 0) || (found.length === most && weight <= weights[found.at(-1)!]!)) return;
    let at = found.length;
    while (at > 0 && weights[found[at - 1]!]! < weight) at--;
    found.splice(at, 0, j);
    if (found.length > most) found.pop();
  });
  return found;
}

/** How a position turns queries and keys (Su et al. 2021), as in qkvlab/mechanism.py `rotate`. */
import type { Floats } from './mechanism';
import type { Rotation } from './protocol';

/** The components that turn together, pair by pair. */
export function rotationPairs(rotation: Rotation): [number, number][] {
  const half = rotation.dims / 2;
  return Array.from({ length: half }, (_, i) => (rotation.pairs === 'half' ? [i, i + half] : [2 * i, 2 * i + 1]));
}

/** One vector turned by `positions` positions (negative: back) and stretched by `factor`, written to `out` at `at`. */
export function turn(
  vector: Floats,
  positions: number,
  factor: number,
  rotation: Rotation,
  out = new Float64Array(vector.length),
  at = 0,
): Float64Array {
  out.set(vector, at);
  const half = rotation.dims / 2;
  const [step, apart] = rotation.pairs === 'half' ? [1, half] : [2, 1];
  for (let i = 0; i < half; i++) {
    const angle = Math.fround(positions * Math.fround(rotation.frequencies[i]!)); // the engine's angles are float32
    const [cos, sin] = [Math.cos(angle) * factor, Math.sin(angle) * factor];
    const [a, b] = [vector[i * step]!, vector[i * step + apart]!];
    out[at + i * step] = a * cos - b * sin;
    out[at + i * step + apart] = b * cos + a * sin;
  }
  return out;
}

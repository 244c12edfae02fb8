/** Why this score: q∘k component by component, in an order that keeps what turns together side by side. */
import type { Floats } from './mechanism';
import type { Rotation } from './protocol';
import { rotationPairs, turn } from './rotation';

/** q∘k: what each component adds to q · k. */
export function products(q: Floats, k: Floats): Float64Array {
  return new Float64Array(q).map((component, i) => component * k[i]!);
}

/** The components, those that agree most first; the two of a rotation pair stay together and rank by their sum. */
export function pairOrder(terms: Floats, rotation: Rotation | null): Int32Array {
  const pairs: number[][] = rotation ? rotationPairs(rotation) : [];
  const alone = Array.from({ length: terms.length - 2 * pairs.length }, (_, i) => [2 * pairs.length + i]);
  const sum = (group: number[]) => group.reduce((total, i) => total + terms[i]!, 0);
  return Int32Array.from([...pairs, ...alone].sort((a, b) => sum(b) - sum(a)).flat());
}

/** What the sum has come to after each component, in the given order. */
export function runningSum(terms: Floats, order: ArrayLike<number>): Float64Array {
  let sum = 0;
  return Float64Array.from(order, (i) => (sum += terms[i]!));
}

/** The score of this content at 0, 1, … `maxDistance` positions between query and key. */
export function distanceCurve(
  qRaw: Floats,
  kRaw: Floats,
  scale: number,
  rotation: Rotation,
  maxDistance: number,
): Float64Array {
  const turned = new Float64Array(qRaw.length);
  const still = turn(kRaw, 0, rotation.factor, rotation);
  return Float64Array.from({ length: maxDistance + 1 }, (_, distance) => {
    turn(qRaw, distance, rotation.factor, rotation, turned);
    return scale * turned.reduce((sum, component, i) => sum + component * still[i]!, 0);
  });
}

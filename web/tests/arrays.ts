/** Small reproducible arrays for the tests of the mechanism. */
import type { HeadArrays } from '../src/core/mechanism';

/** Numbers between -1 and 1, the same on every run (mulberry32). */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

export function randomArray(length: number, seed: number, size = 1): Float32Array {
  const next = numbers(seed);
  return Float32Array.from({ length }, () => size * next());
}

export function randomHead(n: number, d: number, seed = 1): HeadArrays {
  const gram = new Float32Array(d * d);
  const w = randomArray(d * d, seed + 3);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) for (let m = 0; m < d; m++) gram[i * d + j]! += w[i * d + m]! * w[j * d + m]!;
  }
  return {
    q: randomArray(n * d, seed, 2),
    k: randomArray(n * d, seed + 1, 2),
    v: randomArray(n * d, seed + 2),
    valueLengths: randomArray(n, seed + 4).map(Math.abs),
    gram,
    meanZ: randomArray(d, seed + 5),
    rule: null,
  };
}

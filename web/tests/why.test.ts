import { describe, expect, test } from 'vitest';
import type { Rotation } from '../src/core/protocol';
import { rotationPairs, turn } from '../src/core/rotation';
import { distanceCurve, pairOrder, products, runningSum } from '../src/core/why';
import { randomArray } from './arrays';

const half: Rotation = { pairs: 'half', dims: 4, frequencies: [1, 0.1], factor: 1.5 };
const adjacent: Rotation = { ...half, pairs: 'adjacent' };

describe('why this score', () => {
  test('q∘k, largest pair first, partners together', () => {
    const terms = products(Float32Array.of(1, 2, 3, 5, 7), Float32Array.of(-11, 2, 3, 1, 1));
    expect([...terms]).toEqual([-11, 4, 9, 5, 7]);
    expect([...pairOrder(terms, half)]).toEqual([1, 3, 4, 0, 2]);
    expect([...pairOrder(terms, adjacent)]).toEqual([2, 3, 4, 0, 1]);
    expect([...pairOrder(terms, null)]).toEqual([2, 4, 3, 1, 0]);
    expect([rotationPairs(half), rotationPairs(adjacent)]).toEqual([[[0, 2], [1, 3]], [[0, 1], [2, 3]]]);
  });

  test('the running sum ends at q · k', () => {
    const terms = Float64Array.of(-11, 4, 9, 5, 7);
    expect([...runningSum(terms, [1, 3, 4, 0, 2])]).toEqual([4, 9, 16, 5, 14]);
  });

  test.each([half, adjacent])('the distance curve is the score of the rotated vectors, wherever they stand', (rotation) => {
    const [q, k] = [randomArray(5, 1), randomArray(5, 2)];
    const curve = distanceCurve(q, k, 0.25, rotation, 7);
    const [query, key] = [turn(q, 10, 1.5, rotation), turn(k, 3, 1.5, rotation)];
    const score = 0.25 * query.reduce((sum, x, i) => sum + x * key[i]!, 0);
    expect(curve).toHaveLength(8);
    expect(curve[7]).toBeCloseTo(score, 5);
  });
});

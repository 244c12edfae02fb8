import { expect, test } from 'vitest';
import { alongSum } from '../src/lesson/instruments/sum';

test('parts end where the whole ends, whatever they cancel', () => {
  const heads = Float32Array.of(3, 1, -1, 2);
  const { parts, length, heads: count } = alongSum(heads, Float32Array.of(2, 0), Float32Array.of(4, 3));
  expect([count, length]).toEqual([2, 5]);
  expect(parts.map(({ from, to }) => [from, to])).toEqual([[0, 3], [3, 3.4], [3.4, 5]]);
  expect(parts[0]!.length).toBeCloseTo(Math.sqrt(10), 12);
});

test('nothing written has no direction to be seen along', () => {
  expect(alongSum(new Float32Array(4), null, new Float32Array(2)).parts.every(({ from, to }) => from === 0 && to === 0)).toBe(true);
});

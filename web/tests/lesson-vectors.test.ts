import { expect, test } from 'vitest';
import { alongSum, farthest, largest, lengthOf, project, strip } from '../src/lesson/instruments/vectors';

const f = (...values: number[]) => Float32Array.from(values);

test('x times W reads W row by row, and adds the bias', () => {
  expect([...project(f(1, 2), f(1, 0, -1, 3, 1, 0), null)]).toEqual([7, 2, -1]);
  expect([...project(f(1, 2), f(1, 0, -1, 3, 1, 0), f(1, 1, 1))]).toEqual([8, 3, 0]);
});

test('lengths, the largest size, the largest difference', () => {
  expect([lengthOf(f(3, -4)), largest(f(3, -4)), farthest(f(3, -4), f(3, 1))]).toEqual([5, 4, 5]);
});

test('what the heads write along the sum adds up to its length', () => {
  expect(alongSum(f(3, 1, 0, 3), f(3, 4))).toEqual([2.6, 2.4]);
});

test('a positive number goes up from the middle, as high as its share of the scale', () => {
  expect(strip(f(1, -2), 2)).toBe('M0.14 0h.72v-0.5000h-.72zM1.14 0h.72v1.0000h-.72z');
});

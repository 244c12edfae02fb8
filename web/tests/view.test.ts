import { expect, test } from 'vitest';
import { strongest, withoutFirst } from '../src/core/view';

test('hiding the first token leaves the proportions of the others', () => {
  expect([...withoutFirst(Float64Array.of(0.5, 0.125, 0.375))]).toEqual([0, 0.25, 0.75]);
  expect([...withoutFirst(Float64Array.of(1, 0))]).toEqual([0, 0]);
});

test('the strongest come first, equals in their order, zeros never', () => {
  expect(strongest(Float64Array.of(0.1, 0.4, 0, 0.4, 0.1), 3)).toEqual([1, 3, 0]);
  expect(strongest(Float64Array.of(0, 0), 3)).toEqual([]);
});

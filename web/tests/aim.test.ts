import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { aim, AimError, nonnegativeLeastSquares } from '../src/core/aim';
import { scoreRow } from '../src/core/mechanism';
import { randomArray } from './arrays';

describe('aim', () => {
  test('by hand: two keys at right angles', () => {
    const shift = aim(Float32Array.of(1, 0), Float32Array.of(1, 0, 0, 1), { first: 0, last: 2 }, 1, 1, 3);
    expect(shift[0]).toBeCloseTo(-2, 12);
    expect(shift[1]).toBeCloseTo(2, 12);
  });

  test('the key wins by the margin, exactly where that costs something, and no shorter shift does it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 24 }), fc.nat(1000), (n, seed) => {
        const d = 32;
        const [q, keys, key] = [randomArray(d, seed), randomArray(n * d, seed + 1), seed % n];
        const shift = aim(q, keys, { first: 0, last: n }, key, 0.25);
        const scores = scoreRow(Float64Array.from(q, (x, i) => x + shift[i]!), keys, 0.25, 0, { causal: false, window: null });
        const gap = Math.min(...[...scores].filter((_, j) => j !== key).map((score) => scores[key]! - score));
        expect(gap).toBeCloseTo(3, 8);
      }),
      { numRuns: 30 },
    );
  });

  test('nothing to do where it wins already', () => {
    expect([...aim(Float32Array.of(9, 0), Float32Array.of(1, 0, 0, 1), { first: 0, last: 2 }, 0, 1)]).toEqual([0, 0]);
    expect([...aim(Float32Array.of(9, 0), Float32Array.of(1, 0), { first: 0, last: 1 }, 0, 1)]).toEqual([0, 0]);
  });

  test('keys that are not visible do not count', () => {
    const keys = Float32Array.of(50, 50, 1, 0, 0, 1, 90, 90);
    expect([...aim(Float32Array.of(9, 0), keys, { first: 1, last: 3 }, 1, 1)]).toEqual([0, 0]);
  });

  test('what cannot win is refused', () => {
    const inside = Float32Array.of(-1, 0, 1, 0, 0, 0);
    expect(() => aim(Float32Array.of(1, 1), inside, { first: 0, last: 3 }, 2, 1)).toThrow(AimError);
    const equal = Float32Array.of(1, 2, 1, 2);
    expect(() => aim(Float32Array.of(1, 1), equal, { first: 0, last: 2 }, 0, 1)).toThrow('all visible keys are equal');
  });
});

test('non-negative least squares keeps what would fall below 0 at 0', () => {
  const columns = [Float64Array.of(1, 0), Float64Array.of(1, 1), Float64Array.of(2, 2)];
  const u = nonnegativeLeastSquares(columns, Float64Array.of(1, -1));
  expect([...u]).toEqual([1, 0, 0]);
});

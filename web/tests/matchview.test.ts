import { describe, expect, test } from 'vitest';
import { biasesOf, fitFrame, fromScreen, holds, interestOf, nearest, slopeOf, toScreen } from '../src/core/matchview';
import type { Plane, Point } from '../src/core/planes';

const model = { layer: 2, head: 3, scale: 0.25, causal: true, window: null, rotation: null };
const plane = (axes: number): Plane => ({
  kind: 'query',
  mean: new Float64Array(2),
  axes: Array.from({ length: axes }, () => new Float64Array(2)),
  share: 1,
  flaw: null,
});

describe('scores as the plane shows them', () => {
  test('a temperature on this head changes the slope, one elsewhere does not', () => {
    const scale = (where: string) => ({ kind: 'scale-scores' as const, where, factor: 3, strength: 0.5 });
    expect(slopeOf(model, [scale('2.3'), scale('2.4'), scale('all')])).toBe(0.25 * 2 * 2);
  });

  test('what a score has beside its place is its bias; rounding parts nobody', () => {
    const points = Float64Array.of(1, 0, 0, 2, -1, 1);
    const scores = Float64Array.of(2 * 3 + 5, 2 * 2 + 5 + 1e-12, -Infinity);
    expect([...biasesOf(scores, points, [3, 1], 2)]).toEqual([5, 5, -Infinity]);
  });

  test('the key of interest is the chosen one if it is seen, else the runner-up', () => {
    const weights = Float64Array.of(0.1, 0.6, 0.3, 0);
    expect([2, 3, null].map((key) => interestOf(key, weights, 0, 3))).toEqual([2, 2, 2]);
    expect(interestOf(0, weights, 0, 3)).toBe(0);
    expect(interestOf(null, weights, 1, 2)).toBe(1);
  });
});

describe('the picture of a plane', () => {
  const points = Float64Array.of(-3, 1, 4, 2, 0, -2);
  const frame = fitFrame(points, [[10, 0], [-1, 7]], 320, 220); // prettier-ignore

  test('has room for all keys and the ends of the arrow', () => {
    const ends = [[10, 0], [-1, 7]].map((at) => toScreen(frame, frame.perQuery, at as Point)); // prettier-ignore
    const dots = [0, 1, 2].map((j) => toScreen(frame, frame.perKey, [points[2 * j]!, points[2 * j + 1]!]));
    for (const [x, y] of [...ends, ...dots]) {
      expect(x).toBeGreaterThanOrEqual(26 - 1e-9);
      expect(x).toBeLessThanOrEqual(294 + 1e-9);
      expect(y).toBeGreaterThanOrEqual(26 - 1e-9);
      expect(y).toBeLessThanOrEqual(194 + 1e-9);
    }
  });

  test('goes back and forth; a plane of one axis stays on it', () => {
    const at = toScreen(frame, frame.perKey, [1, 0.5]);
    const [x, y] = fromScreen(frame, frame.perKey, plane(2), at);
    expect([x, y]).toEqual([expect.closeTo(1, 9), expect.closeTo(0.5, 9)]);
    expect(fromScreen(frame, frame.perKey, plane(1), at)[1]).toBe(0);
  });

  test('finds the dot under a pointer', () => {
    const [x, y] = toScreen(frame, frame.perKey, [4, 2]);
    expect(nearest(frame, points, [x + 3, y], 10)).toBe(1);
    expect(nearest(frame, points, [x + 30, y], 10)).toBe(-1);
  });
});

test('a polygon holds what lies within it, on its sides, or at its only corner', () => {
  const square: Point[] = [[0, 0], [2, 0], [2, 2], [0, 2]]; // prettier-ignore
  expect([[1, 1], [2, 1], [2.1, 1]].map((at) => holds(square, at as Point, 1e-9))).toEqual([true, true, false]); // prettier-ignore
  expect(holds([[1, 1]], [1, 1], 1e-9)).toBe(true);
  expect(holds([[1, 1]], [1, 1.1], 1e-9)).toBe(false);
});

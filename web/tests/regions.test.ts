import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blend } from '../src/core/mechanism';
import { place, valuePlane, type Point } from '../src/core/planes';
import { blendPolygon, canWin, hull, winningRegions } from '../src/core/regions';
import { randomArray } from './arrays';

const square = Float64Array.of(-1, -1, 1, -1, 1, 1, -1, 1, 0, 0.1, 0, 1);
const none = new Float64Array(6);

describe('which key wins where', () => {
  test('by the highest score: each corner its quarter', () => {
    const [lower, , upper, , within] = winningRegions(square, none, 0.5, 3);
    expect([area(lower!), area(upper!)]).toEqual([9, 9]);
    expect(lower).toEqual(expect.arrayContaining([[-3, -3], [0, -3], [-3, 0]]));
    expect(upper).toEqual(expect.arrayContaining([[3, 3], [3, 0]]));
    expect(within).toEqual([]);
  });

  test('a strong bias wins everywhere near, a muted key nowhere', () => {
    const biases = Float64Array.of(0, 0, -Infinity, 0, 9, 0);
    expect(winningRegions(square, biases, 0.5, 3).map((polygon) => polygon.length)).toEqual([0, 0, 0, 0, 4, 0]);
  });

  test('the regions cover the square, and in each the key scores highest', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(1000), (n, seed) => {
        const points = Float64Array.from(randomArray(2 * n, seed));
        const biases = Float64Array.from(randomArray(n, seed + 1));
        const regions = winningRegions(points, biases, 0.5, 7);
        expect(regions.reduce((sum, polygon) => sum + area(polygon), 0)).toBeCloseTo(14 ** 2, 6);
        regions.forEach((polygon, j) => {
          if (area(polygon) === 0) return;
          const [x, y] = middle(polygon);
          const scores = Array.from(biases, (bias, i) => 0.5 * (x * points[2 * i]! + y * points[2 * i + 1]!) + bias);
          expect(scores[j]).toBeCloseTo(Math.max(...scores), 9);
        });
      }),
    );
  });
});

describe('which key can win at all', () => {
  test('the corners of the hull; with a bias also one within', () => {
    expect(canWin(square, none, 0.5)).toEqual([true, true, true, true, false, false]);
    expect(canWin(square, Float64Array.of(0, 0, 0, 0, 0.01, 0), 0.5)[4]).toBe(true);
    expect(canWin(square, Float64Array.of(0, 0, -Infinity, 0, 0, 0), 0.5)).toEqual([true, true, false, true, false, true]);
    expect(canWin(Float64Array.of(-1, 0, 0, 0, 2, 0), new Float64Array(3), 1)).toEqual([true, false, true]);
    expect(canWin(Float64Array.of(3, 0), new Float64Array(1), 1)).toEqual([true]);
    expect(canWin(Float64Array.of(1, 1, 1, 1, 0, 0), new Float64Array(3), 1)).toEqual([true, true, true]);
    expect(canWin(new Float64Array(2), Float64Array.of(-Infinity), 1)).toEqual([false]);
  });

  test('agrees with the hull wherever there is no bias', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 30 }), fc.nat(1000), (n, seed) => {
        const points = Float64Array.from(randomArray(2 * n, seed));
        const corners = new Set(hull(points));
        expect(canWin(points, new Float64Array(n), 0.125)).toEqual(Array.from({ length: n }, (_, j) => corners.has(j)));
      }),
    );
  });
});

describe('the hull', () => {
  test('counter-clockwise, corners only', () => {
    expect(hull(square)).toEqual([0, 1, 2, 3]);
    expect(hull(Float64Array.of(0, 0, 1, 1, 2, 2))).toEqual([0, 2]);
    expect(hull(Float64Array.of(5, 5, 5, 5))).toHaveLength(1);
    expect(hull(new Float64Array())).toEqual([]);
  });

  test('a blend lies within the polygon of its values; 0 joins where it is said to', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 12 }), fc.nat(1000), (n, seed) => {
        const values = randomArray(n * 5, seed).map((x) => x + 3);
        const plane = valuePlane(values, 5, { first: 0, last: n });
        const raw = randomArray(n, seed + 1).map(Math.abs);
        const total = raw.reduce((a, b) => a + b, 0);
        const z = place(plane, blend(Float64Array.from(raw, (x) => x / total), values));
        expect(within(blendPolygon(plane, values, { first: 0, last: n }, false), z)).toBe(true);
        const zero = place(plane, new Float64Array(5));
        expect(within(blendPolygon(plane, values, { first: 0, last: n }, true), zero)).toBe(true);
      }),
    );
  });
});

function area(polygon: Point[]): number {
  return polygon.reduce((sum, [x, y], i) => {
    const [nextX, nextY] = polygon[(i + 1) % polygon.length]!;
    return sum + (x * nextY - nextX * y) / 2;
  }, 0);
}

function middle(polygon: Point[]): Point {
  const mean = (axis: 0 | 1) => polygon.reduce((sum, corner) => sum + corner[axis], 0) / polygon.length;
  return [mean(0), mean(1)];
}

function within(polygon: Point[], [x, y]: Float64Array): boolean {
  return polygon.every(([ax, ay], i) => {
    const [bx, by] = polygon[(i + 1) % polygon.length]!;
    return (bx - ax) * (y! - ay) - (by - ay) * (x! - ax) > -1e-6;
  });
}

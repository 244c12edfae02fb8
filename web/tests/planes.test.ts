import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { principal, symmetricEigen } from '../src/core/eigen';
import { dot, scoreRow } from '../src/core/mechanism';
import { place, principalPlane, queryPlane, queryPoint, shiftFor, valuePlane, type Point } from '../src/core/planes';
import { randomArray } from './arrays';

const scale = 0.25;
const all = { causal: false, window: null };
const span = (n: number) => ({ first: 0, last: n });

describe("the query's own plane", () => {
  test('shows exactly the scores of a query dragged in it', () => {
    const point = fc.tuple(fc.double({ min: -50, max: 50, noNaN: true }), fc.double({ min: -50, max: 50, noNaN: true }));
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), fc.integer({ min: 2, max: 17 }), fc.nat(1000), point, (n, d, seed, to) => {
        const [q, keys] = [randomArray(d, seed, 3), randomArray(n * d, seed + 1, 3)];
        const plane = queryPlane(q, keys, span(n), seed % n);
        const target: Point = plane.axes.length === 2 ? to : [to[0], 0];
        const shift = shiftFor(plane, queryPoint(plane, q), target);
        const moved = Float64Array.from(q, (x, i) => x + shift[i]!);
        const scores = scoreRow(moved, keys, scale, 0, all);
        const points = place(plane, keys);
        for (let j = 1; j < n; j++) {
          const shown = scale * (target[0] * (points[2 * j]! - points[0]!) + target[1] * (points[2 * j + 1]! - points[1]!));
          expect(Math.abs(scores[j]! - scores[0]! - shown)).toBeLessThan(1e-9 * (1 + Math.abs(shown)));
        }
      }),
    );
  });

  test('right is higher score; the query lies on the horizontal axis; the key of interest stands above it', () => {
    const [q, keys] = [randomArray(7, 1), randomArray(5 * 7, 2)];
    const plane = queryPlane(q, keys, span(5), 3);
    const points = place(plane, keys);
    const scores = scoreRow(q, keys, scale, 0, all);
    const byScore = [0, 1, 2, 3, 4].sort((a, b) => scores[a]! - scores[b]!);
    expect([0, 1, 2, 3, 4].sort((a, b) => points[2 * a]! - points[2 * b]!)).toEqual(byScore);
    const [x, y] = queryPoint(plane, q);
    expect(x).toBeGreaterThan(0);
    expect(y).toBeCloseTo(0, 12);
    expect(points[7]).toBeGreaterThan(0);
  });

  test('knows the keys that the query sees, and only those', () => {
    const [q, keys] = [randomArray(7, 1), randomArray(9 * 7, 2)];
    const plane = queryPlane(q, keys, { first: 2, last: 6 }, 4);
    const alone = queryPlane(q, keys.slice(14, 42), span(4), 2);
    expect(plane).toEqual(alone);
  });

  test('keeps its signs from one keystroke to the next', () => {
    const [q, keys] = [randomArray(7, 1), randomArray(5 * 7, 2)];
    const before = queryPlane(q, keys, span(5), 3);
    const turned = { ...before, axes: [before.axes[0]!, before.axes[1]!.map((x) => -x)] };
    expect(dot(queryPlane(q, keys, span(5), 3, turned).axes[1]!, turned.axes[1]!)).toBeCloseTo(1, 12);
  });

  test.each([
    ['one key', [1, 2, 3], 0, 'one key'],
    ['equal keys', [1, 2, 3, 1, 2, 3], 0, 'equal keys'],
    ['two keys', [1, 2, 3, 3, 2, 3], 1, 'two keys'],
    ['keys on a line', [1, 2, 3, 2, 2, 3, 5, 2, 3], 1, 'one line'],
  ])('%s give fewer axes', (_, keys, axes, flaw) => {
    const plane = queryPlane(Float32Array.of(1, 1, 1), Float32Array.from(keys), span(keys.length / 3), 0);
    expect([plane.axes.length, plane.flaw]).toEqual([axes, flaw]);
    expect(place(plane, Float32Array.from(keys))).toHaveLength((2 * keys.length) / 3);
  });

  test('a key of interest on the axis gives way to the one farthest from it', () => {
    const keys = Float32Array.of(-2, 0, 2, 0, 0, 3, 0, -3);
    const plane = queryPlane(Float32Array.of(1, 0), keys, span(4), 1);
    expect(plane.axes.map((axis) => [...axis])).toEqual([[1, 0], [0, 1]]);
  });

  test('a query at right angles to all keys is said to be so', () => {
    const plane = queryPlane(Float32Array.of(0, 0, 1), Float32Array.of(1, 0, 0, 0, 1, 0, 1, 1, 0), span(3), 2);
    expect([plane.flaw, plane.axes.length]).toEqual(['query at right angles', 2]);
  });
});

describe('principal directions', () => {
  test('the eigenvectors of a symmetric matrix', () => {
    const matrix = [Float64Array.of(2, 1, 0), Float64Array.of(1, 2, 0), Float64Array.of(0, 0, 5)];
    symmetricEigen(matrix).forEach(({ value }, i) => expect(value).toBeCloseTo([5, 3, 1][i]!, 12));
    expect(symmetricEigen([])).toEqual([]);
    expect(symmetricEigen([new Float64Array(2), new Float64Array(2)]).map(({ value }) => value)).toEqual([0, 0]);
  });

  test('any symmetric matrix is rebuilt from its eigenpairs', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 24 }), fc.nat(1000), (n, rank, seed) => {
        const rows = Array.from({ length: n }, (_, i) => Float64Array.from(randomArray(rank, seed + i)));
        const matrix = rows.map((a) => Float64Array.from(rows, (b) => dot(a, b)));
        const pairs = symmetricEigen(matrix);
        for (let i = 0; i < n; i++) {
          for (let j = 0; j < n; j++) {
            const rebuilt = pairs.reduce((sum, { value, vector }) => sum + value * vector[i]! * vector[j]!, 0);
            expect(Math.abs(rebuilt - matrix[i]![j]!)).toBeLessThan(1e-12 * n * rank);
          }
        }
        pairs.forEach(({ value, vector }, i) => {
          expect(dot(vector, vector)).toBeCloseTo(1, 12);
          expect(value).toBeLessThanOrEqual(pairs[i - 1]?.value ?? Infinity);
        });
      }),
    );
  });

  test('are the same whichever way round they are found', () => {
    const rows = (n: number, d: number) => Array.from({ length: n }, (_, j) => Float64Array.from(randomArray(d, j + 1)));
    for (const [n, d] of [[3, 11], [11, 3], [7, 7]] as const) {
      const { directions, variances, total } = principal(rows(n, d), Math.min(n, d));
      expect(variances.reduce((a, b) => a + b, 0)).toBeCloseTo(total, 10);
      directions.forEach((direction, i) => {
        const along = rows(n, d).reduce((sum, row) => sum + dot(row, direction) ** 2, 0);
        expect(along).toBeCloseTo(variances[i]!, 10);
        expect(dot(direction, direction)).toBeCloseTo(1, 10);
      });
    }
  });

  test('carry a share of the score variance', () => {
    const [q, keys] = [randomArray(7, 1), randomArray(13 * 7, 2)];
    const plane = principalPlane(q, keys, span(13));
    const scores = scoreRow(q, keys, scale, 0, all);
    const [x, y] = queryPoint(plane, q);
    const points = place(plane, keys);
    const rest = scores.map((score, j) => score - scale * (x * points[2 * j]! + y * points[2 * j + 1]!));
    const variance = (x: Float64Array) => {
      const mean = x.reduce((a, b) => a + b, 0) / x.length;
      return x.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    };
    expect(plane.share).toBeCloseTo(1 - variance(rest) / variance(scores), 10);
    expect(queryPoint(plane, q).every((component) => component >= 0)).toBe(true);
  });

  test('of values carry their own variance', () => {
    const flat = Float32Array.of(0, 0, 0, 4, 0, 0, 0, 3, 0, 4, 3, 0);
    const plane = valuePlane(flat, 3, span(4));
    expect(plane.share).toBeCloseTo(1, 12);
    expect([...place(plane, flat)].map((x) => Math.round(x * 10) / 10)).toEqual([-2, -1.5, 2, -1.5, -2, 1.5, 2, 1.5]);
    expect(valuePlane(flat, 3, { first: 1, last: 2 }).flaw).toBe('one key');
  });
});

import { describe, expect, test } from 'vitest';
import {
  attendRow, blend, dot, editBlend, editPair, editScores, reaches, scoreRow, softmax, unmaskedScores, visibleKeys, writeLength,
  type Acting, type HeadModel,
} from '../src/core/mechanism';
import type { Rotation } from '../src/core/protocol';
import { turn } from '../src/core/rotation';
import { randomArray, randomHead } from './arrays';

const everything = { causal: false, window: null };
const plain: HeadModel = { layer: 13, head: 8, scale: 0.5, causal: true, window: null, rotation: null };
const rotation: Rotation = { pairs: 'half', dims: 4, frequencies: [1, 0.1], factor: 1 };
const sum = (numbers: ArrayLike<number>) => Array.from(numbers).reduce((a, b) => a + b, 0);
const close = (got: ArrayLike<number>, wanted: ArrayLike<number>, digits = 12) => {
  expect(got).toHaveLength(wanted.length);
  Array.from(wanted).forEach((x, i) => expect(got[i]).toBeCloseTo(x, digits));
};

describe('the equations, by hand', () => {
  const k = Float32Array.of(1, 0, 0, 2, 3, 5);

  test('scores are scaled products', () => {
    expect([...scoreRow(Float32Array.of(7, 11), k, 0.5, 2, everything)]).toEqual([3.5, 11, 38]);
  });

  test('a causal query does not see what comes later; a window ends before it', () => {
    const q = Float32Array.of(7, 11);
    expect([...scoreRow(q, k, 1, 1, { causal: true, window: null })]).toEqual([7, 22, -Infinity]);
    expect([...scoreRow(q, k, 1, 2, { causal: true, window: 2 })]).toEqual([-Infinity, 22, 76]);
    expect([...scoreRow(q, k, 1, 0, { causal: false, window: 2 })]).toEqual([7, 22, -Infinity]);
    expect(visibleKeys(5, 11, { causal: false, window: 3 })).toEqual({ first: 3, last: 8 });
  });

  test('softmax', () => {
    close(softmax(Float64Array.of(Math.log(2), Math.log(3), Math.log(5))), [0.2, 0.3, 0.5]);
    close(softmax(Float64Array.of(1000, 1000 + Math.log(3), -Infinity)), [0.25, 0.75, 0]);
    expect([...softmax(new Float64Array(2).fill(-Infinity))]).toEqual([0, 0]);
  });

  test('the blend and the size of its write', () => {
    close(blend(Float64Array.of(0.25, 0.5, 0.25), k), [1, 2.25]);
    expect(writeLength(Float32Array.of(3, 4), Float32Array.of(1, 0, 0, 1))).toBe(5);
    expect(writeLength(Float32Array.of(1, 1), Float32Array.of(2, 1, 1, 5))).toBe(3);
  });

  test('a quarter turn takes (a, b) to (-b, a)', () => {
    const quarter = { ...rotation, dims: 2, frequencies: [Math.PI / 2] };
    close(turn(Float32Array.of(2, 3, 7), 1, 1, quarter), [-3, 2, 7], 6);
    const adjacent: Rotation = { ...rotation, pairs: 'adjacent', frequencies: [0, Math.PI / 2] };
    close(turn(Float32Array.of(2, 3, 5, 7), 1, 2, adjacent), [4, 6, -14, 10], 5);
  });
});

describe('edits', () => {
  const scores = Float64Array.of(1, 2, -Infinity);
  const edited = (edit: Acting, query = 1) => [...editScores(scores, edit, query)];

  test('a mute takes its share of the weight before the rest renormalises', () => {
    const where = 'all';
    expect(edited({ kind: 'mute', where, key: 1, query: null, strength: 1 })).toEqual([1, -Infinity, -Infinity]);
    const before = softmax(scores);
    const after = softmax(editScores(scores, { kind: 'mute', where, key: 1, query: 1, strength: 0.25 }, 1));
    expect(after[1]! / after[0]!).toBeCloseTo((0.75 * before[1]!) / before[0]!, 12);
    expect(edited({ kind: 'mute', where, key: 1, query: 0, strength: 1 })).toEqual([...scores]);
  });

  test('a pair is strengthened for its query only', () => {
    const edit: Acting = { kind: 'strengthen', where: '13.8', query: 1, key: 0, amount: 3, strength: 0.5 };
    expect([edited(edit), edited(edit, 2)]).toEqual([[2.5, 2, -Infinity], [1, 2, -Infinity]]);
  });

  test('a temperature scales what is seen', () => {
    const edit = { kind: 'scale-scores', where: '13', strength: 0.5 } as const;
    expect(edited({ ...edit, factor: 3 })).toEqual([2, 4, -Infinity]);
    expect(edited({ ...edit, factor: 0, strength: 1 })).toEqual([0, 0, -Infinity]);
  });

  test('an ablation to zero, a mean or a vector', () => {
    const z = Float64Array.of(2, 4);
    const edit = { kind: 'ablate', where: 'all', strength: 0.5 } as const;
    expect([...editBlend(z, { ...edit, to: 'zero' }, null)]).toEqual([1, 2]);
    expect([...editBlend(z, { ...edit, to: 'mean' }, Float32Array.of(4, 0))]).toEqual([3, 2]);
    expect([...editBlend(z, { ...edit, to: [0, 6], strength: 1 }, null)]).toEqual([0, 6]);
    expect(() => editBlend(z, { ...edit, to: 'mean' }, null)).toThrow('mean z is not known');
  });

  test('a tie makes keys of queries', () => {
    const [q, k] = [Float32Array.of(1, 2, 3, 4), Float32Array.of(5, 6, 7, 8)];
    const half = editPair(q, k, 2, { kind: 'tie', where: 'all', strength: 0.5 }, null);
    expect(half.map((rows) => [...rows])).toEqual([[1, 2, 3, 4], [3, 4, 5, 6]]);
  });

  test('a stopped rotation gives back what was rotated, stretched as before', () => {
    const stretched = { ...rotation, factor: 1.5 };
    const raw = randomArray(15, 7);
    const turned = new Float64Array(15);
    for (let j = 0; j < 3; j++) turn(raw.subarray(5 * j, 5 * j + 5), j, 1.5, stretched, turned, 5 * j);
    const [q] = editPair(turned, turned, 5, { kind: 'stop-rotation', where: 'all', strength: 1 }, stretched);
    close(q, raw.map((x, i) => (i % 5 < 4 ? 1.5 * x : x)), 6);
    const none = () => editPair(raw, raw, 5, { kind: 'stop-rotation', where: 'all', strength: 1 }, null);
    expect(none).toThrow('does not rotate');
  });

  test('reach their scope', () => {
    const scopes = ['all', '13', '13.8', '1', '3.8', '13.80'].map((where) => ({ kind: 'tie', where, strength: 1 }) as const);
    expect(scopes.map((edit) => reaches(edit, 13, 8))).toEqual([true, true, true, false, false, false]);
    expect(reaches({ kind: 'share-kv', first_layer: 0, last_layer: 20, n_kv_head: 1, strength: 1 }, 13, 8)).toBe(false);
  });
});

describe('one query, all of it', () => {
  const arrays = randomHead(11, 5);

  test('holds together: weights sum to 1, z is their blend, shares sum to 1', () => {
    const row = attendRow(arrays, plain, [], 6);
    expect(sum(row.weights)).toBeCloseTo(1, 12);
    expect(sum(row.shares)).toBeCloseTo(1, 12);
    close(row.z, blend(row.weights, arrays.v));
    expect(row.scores[3]).toBeCloseTo(0.5 * dot(row.q, row.k, 15), 12);
    expect([...row.weights.subarray(7)]).toEqual([0, 0, 0, 0]);
    expect(row.shares[2]).toBeCloseTo(
      (row.weights[2]! * arrays.valueLengths[2]!) / sum(row.weights.map((w, j) => w * arrays.valueLengths[j]!)),
      12,
    );
  });

  test('softmax does not notice what all keys share', () => {
    const common = randomArray(5, 99);
    const moved = { ...arrays, k: arrays.k.map((x, i) => x + common[i % 5]!) };
    close(attendRow(moved, plain, [], 6).weights, attendRow(arrays, plain, [], 6).weights, 6);
  });

  test('with every visible key muted nothing is written', () => {
    const mutes = [0, 1].map((key): Acting => ({ kind: 'mute', where: '13.8', key, query: null, strength: 1 }));
    const row = attendRow(arrays, plain, mutes, 1);
    expect([sum(row.weights), sum(row.z), row.writeLength, sum(row.shares)]).toEqual([0, 0, 0, 0]);
  });

  test('an ablation leaves the keys what is left of the blend', () => {
    const ablate = (strength: number): Acting => ({ kind: 'ablate', where: '13', to: 'zero', strength });
    expect(sum(attendRow(arrays, plain, [ablate(1)], 6).shares)).toBe(0);
    expect(sum(attendRow(arrays, plain, [ablate(0.5), ablate(0.5)], 6).shares)).toBeCloseTo(0.25, 12);
    expect(attendRow(arrays, plain, [ablate(1)], 6).writeLength).toBe(0);
  });

  test('edits act as listed, those of pairs first', () => {
    const temperature: Acting = { kind: 'scale-scores', where: 'all', factor: 2, strength: 1 };
    const stronger: Acting = { kind: 'strengthen', where: 'all', query: 6, key: 2, amount: 1, strength: 1 };
    const tie: Acting = { kind: 'tie', where: 'all', strength: 1 };
    const base = attendRow(arrays, plain, [], 6).scores[2]!;
    expect(attendRow(arrays, plain, [temperature, stronger], 6).scores[2]).toBeCloseTo(2 * base + 1, 12);
    expect(attendRow(arrays, plain, [stronger, temperature], 6).scores[2]).toBeCloseTo(2 * (base + 1), 12);
    expect(attendRow(arrays, plain, [stronger, tie], 6).scores[2]).toBeCloseTo(
      0.5 * dot(arrays.q.subarray(30, 35), arrays.q, 10) + 1,
      12,
    );
  });

  test('unmasked, a tied head is symmetric', () => {
    const tie: Acting = { kind: 'tie', where: '13.8', strength: 1 };
    const [there, back] = [unmaskedScores(arrays, plain, [tie], 9)[4]!, unmaskedScores(arrays, plain, [tie], 4)[9]!];
    expect(there).toBeCloseTo(back, 12);
    expect(Number.isFinite(there)).toBe(true);
  });

  test('a drag moves the query, the key, and what is tied to them, and leaves the arrays alone', () => {
    const shift = randomArray(5, 3);
    const copies = [arrays.q.slice(), arrays.k.slice()];
    const moved = attendRow(arrays, plain, [], 6, { q: shift });
    expect(moved.scores[2]! - attendRow(arrays, plain, [], 6).scores[2]!).toBeCloseTo(0.5 * dot(shift, arrays.k, 10), 12);
    const key = attendRow(arrays, plain, [], 6, { key: { index: 2, shift } });
    expect(key.scores[2]).toBeCloseTo(0.5 * (dot(moved.q.map((x, i) => x - shift[i]!), arrays.k, 10) + dot(shift, arrays.q.subarray(30, 35))), 12);
    const tied = attendRow(arrays, plain, [{ kind: 'tie', where: 'all', strength: 1 }], 6, { q: shift });
    expect(tied.scores[6]).toBeCloseTo(0.5 * dot(tied.q, tied.q), 12);
    expect([arrays.q, arrays.k]).toEqual(copies);
  });
});

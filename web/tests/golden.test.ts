/** The page's arithmetic against the Python library's, on real heads: the files of tests/golden.py. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { aim } from '../src/core/aim';
import { norm } from '../src/core/linalg';
import { attendRow, scoreRow, softmax, visibleKeys, type Acting, type Floats, type HeadArrays, type HeadModel } from '../src/core/mechanism';
import { place, queryPlane, queryPoint, shiftFor } from '../src/core/planes';
import type { EditOf, Rotation } from '../src/core/protocol';
import { turn } from '../src/core/rotation';
import { floats, readSafetensors, SafetensorsError, type Tensors } from '../src/core/safetensors';
import { distanceCurve } from '../src/core/why';

interface Case {
  name: string;
  edits: Acting[];
  arrays: string[];
}

interface Entry {
  file: string;
  tokens: string[];
  head: string;
  query: number;
  causal: boolean;
  window: number | null;
  scale: number;
  rotation: Omit<Rotation, 'frequencies'> | null;
  cases: Case[];
}

interface Index {
  heads: Entry[];
  rules: { file: string; scale: number; causal: boolean; window: number | null; softcap: number | null; sink: number | null }[];
  sound: { file: string; metadata: object; tensors: Record<string, { shape: number[]; values: number[] }> }[];
  broken: string[];
}

const folder = new URL('golden/', import.meta.url);
const bytes = (file: string) => new Uint8Array(readFileSync(new URL(file, folder))).buffer;
const index: Index = JSON.parse(readFileSync(new URL('index.json', folder), 'utf8'));

function modelOf({ head, rotation, causal, window, scale }: Entry, tensors: Tensors): HeadModel {
  const [layer, number] = head.split('.').map(Number) as [number, number];
  const turning = rotation && { ...rotation, frequencies: [...floats(tensors, 'frequencies')] };
  return { layer, head: number, scale, causal, window, rotation: turning };
}

function arraysOf(tensors: Tensors, prefix = ''): HeadArrays {
  const own = (name: string) => floats(tensors, tensors.has(prefix + name) ? prefix + name : name);
  return {
    q: own('q'),
    k: own('k'),
    v: own('v'),
    valueLengths: floats(tensors, 'value_lengths'),
    gram: floats(tensors, 'gram'),
    meanZ: floats(tensors, 'mean_z'),
    rule: null,
  };
}

function expectClose(got: Floats, wanted: Floats, tolerance: number, what: string): void {
  expect(got.length, what).toBe(wanted.length);
  let worst = 0;
  wanted.forEach((x, i) => (worst = Math.max(worst, x === got[i] ? 0 : Math.abs(x - got[i]!))));
  expect(worst, what).toBeLessThanOrEqual(tolerance);
}

test('every file of the folder is in the index', () => {
  const named = [...index.heads, ...index.rules, ...index.sound].map(({ file }) => file);
  expect(readdirSync(folder).sort()).toEqual([...named, ...index.broken, 'index.json'].sort());
});

describe.each(index.heads)('$file', (entry) => {
  const { tensors } = readSafetensors(bytes(entry.file));
  const model = modelOf(entry, tensors);
  const n = entry.tokens.length;
  const d = floats(tensors, 'q').length / n;
  const row = (name: string, query: number, width = n) => floats(tensors, name).subarray(query * width, (query + 1) * width);

  test.each([{ name: '', edits: [] }, ...entry.cases])('scores, weights and z after: $name', ({ name, edits }) => {
    const prefix = name && `${name}.`;
    const arrays = arraysOf(tensors, prefix);
    for (let query = 0; query < n; query++) {
      const got = attendRow(arrays, model, edits, query);
      const longest = Math.max(...[...got.scores.keys()].map((j) => norm(got.k.subarray(j * d, (j + 1) * d))));
      const rounding = 2 ** -23 * model.scale * norm(got.q) * longest; // the engine adds up in float32
      expectClose(got.scores, row(`${prefix}scores`, query), 2e-6 + 4 * rounding, `scores of ${query}`);
      expectClose(got.weights, row(`${prefix}weights`, query), 1e-6 + rounding, `weights of ${query}`);
      expectClose(got.z, row(`${prefix}z`, query, d), 5e-6, `z of ${query}`);
    }
  });

  test('aim finds the same shift', () => {
    const { q, k } = arraysOf(tensors);
    const span = visibleKeys(entry.query, n, model);
    const aimed = entry.cases.filter(({ arrays }) => arrays.includes('shift'));
    expect(aimed).toHaveLength(span.last - span.first);
    for (const { name, edits } of aimed) {
      const { key, margin } = edits[0] as EditOf<'aim-query', number>;
      const shift = aim(q.subarray(entry.query * d, (entry.query + 1) * d), k, span, key, model.scale, margin);
      expectClose(shift, floats(tensors, `${name}.shift`), 1e-5, name);
    }
  });

  test("dragged in its own plane, the query's weights are those of the shift", () => {
    const arrays = arraysOf(tensors);
    const q = arrays.q.subarray(entry.query * d, (entry.query + 1) * d);
    const plane = queryPlane(q, arrays.k, visibleKeys(entry.query, n, model), 1);
    const [x, y] = queryPoint(plane, q);
    const shift = shiftFor(plane, [x, y], [x / 2, x / 3]);
    const moved = attendRow(arrays, model, [], entry.query, { q: shift });
    const points = place(plane, arrays.k);
    const shown = moved.scores.map((score, j) => {
      return score === -Infinity ? score : model.scale * ((x / 2) * points[2 * j]! + (x / 3) * points[2 * j + 1]!);
    });
    const offset = shown[1]! - moved.scores[1]!;
    expectClose(shown.map((score) => score - offset), moved.scores, 1e-9, 'scores up to what all share');
  });

  test.runIf(entry.rotation)('rotation takes raw queries and keys to their place', () => {
    const rotation = model.rotation!;
    const [qRaw, kRaw] = [floats(tensors, 'q_raw'), floats(tensors, 'k_raw')];
    for (let at = 0; at < n; at++) {
      const raw = (rows: Floats) => turn(rows.subarray(at * d, (at + 1) * d), at, rotation.factor, rotation);
      expectClose(raw(qRaw), row('q', at, d), 1e-5, `query ${at}`);
      expectClose(raw(kRaw), row('k', at, d), 1e-5, `key ${at}`);
    }
    const query = entry.query;
    const curve = distanceCurve(row('q_raw', query, d), row('k_raw', 1, d), model.scale, rotation, query);
    expect(curve[query - 1]).toBeCloseTo(row('scores', query)[1]!, 4);
  });
});

describe('safetensors files', () => {
  test.each(index.sound)('$file is understood', ({ file, metadata, tensors }) => {
    const read = readSafetensors(bytes(file));
    expect(read.metadata).toEqual(metadata);
    const got = [...read.tensors].map(([name, { shape, data }]) => [name, { shape, values: [...data] }]);
    expect(Object.fromEntries(got)).toEqual(tensors);
  });

  test.each(index.broken)('%s is refused', (file) => {
    expect(() => readSafetensors(bytes(file))).toThrow(SafetensorsError);
  });
});

test.each(index.rules)('$file: what some families have between q · k and the weights', ({ file, scale, causal, window, softcap, sink }) => {
  const { tensors } = readSafetensors(bytes(file));
  const own = (name: string) => (tensors.has(name) ? floats(tensors, name) : null);
  const rule = { softcap, sink, keyBias: own('key_bias'), distanceBias: own('distance_bias') };
  const [q, k] = [floats(tensors, 'q'), floats(tensors, 'k')];
  const n = tensors.get('q')!.shape[0]!;
  const d = q.length / n;
  for (let query = 0; query < n; query++) {
    const scores = scoreRow(q.subarray(query * d, (query + 1) * d), k, scale, query, { causal, window }, rule);
    const weights = softmax(scores, sink ?? -Infinity);
    expectClose(weights, floats(tensors, 'weights').subarray(query * n, (query + 1) * n), 1e-6, `weights of ${query}`);
    const wanted = floats(tensors, 'scores').subarray(query * n, (query + 1) * n);
    scores.forEach((score, j) => (wanted[j] === -Infinity ? expect(score).toBe(-Infinity) : expect(score).toBeCloseTo(wanted[j]!, 4)));
  }
});

import { expect, test } from 'vitest';
import { fileName, recordOf } from '../src/core/record';
import { fromRange } from '../src/core/anchors';
import type { Row } from '../src/core/mechanism';

const row = (weights: number[], scores: number[]): Row => ({
  q: Float32Array.of(1),
  k: Float32Array.of(1),
  scores: Float64Array.from(scores),
  weights: Float64Array.from(weights),
  z: Float64Array.of(0.5),
  writeLength: 2,
  shares: Float64Array.from(weights),
});

test('a record holds the state as a link does, and the numbers before and after', () => {
  const text = 'The 🙂 cat';
  const chosen = {
    model: 'smollm2',
    text,
    special: true,
    head: '13.8',
    pinned: null,
    query: fromRange(text, 6, 10),
    key: null,
    edits: [{ id: 3, on: true, edit: { kind: 'mute' as const, where: '13.8', key: fromRange(text, 0, 3), query: null, strength: 1 } }],
    tracked: [' was'],
    atEnd: false,
  };
  const tokens = ['The', ' 🙂', ' cat'];
  const [after, before] = [row([0, 0.25, 0.75], [-Infinity, 1, 2]), row([0.5, 0.2, 0.3], [3, 1, 2])];
  const json = recordOf({ chosen, badge: 'SmolLM2', tokens, head: '13.8', query: 2, row: after, rowBefore: before, prediction: null });
  expect(JSON.parse(json)).toMatchObject({
    model: 'SmolLM2',
    state: { text, query: [5, 9], edits: [{ edit: { kind: 'mute', key: [0, 3] }, on: true }] },
    tokens,
    query: 2,
    after: { scores: [null, 1, 2], weights: [0, 0.25, 0.75], z: [0.5], write_length: 2 },
    before: { scores: [3, 1, 2], weights: [0.5, 0.2, 0.3] },
    prediction: null,
  });
});

test.each([
  ['The cat drank: because…', 'qkvlab-the-cat-drank-because-13.8.svg'],
  ['', 'qkvlab-13.8.svg'],
  ['../../etc', 'qkvlab-etc-13.8.svg'],
  ['日本 の', 'qkvlab-日本-の-13.8.svg'],
  ['long '.repeat(30), `qkvlab-${'long-'.repeat(8)}13.8.svg`],
])('%s is saved as %s', (text, name) => expect(fileName(text, '13.8', 'svg')).toBe(name));

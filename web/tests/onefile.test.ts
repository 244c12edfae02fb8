import fc from 'fast-check';
import { expect, test } from 'vitest';
import { attendRow, headModel, type Acting } from '../src/core/mechanism';
import type { HeadReply, ModelInfo, TokensReply } from '../src/core/protocol';
import { beyond, replay } from '../src/core/replay';
import { readSafetensors, writeSafetensors, type Tensors } from '../src/core/safetensors';
import { Answers } from '../src/onefile/answers';
import { fill } from '../src/onefile/fill';
import { fromBase64, pack, toBase64, unpack, type Kept, type Opened } from '../src/onefile/kept';
import { Lab } from '../src/store.svelte';
import { randomArray, randomHead } from './arrays';

const [N, D] = [5, 4];
const INFO = { name: 'tiny', n_layer: 3, n_head: 2, n_kv_head: 1, d_head: D, d_value: D, score_extras: '', causal: true, has_output: false, scale: 0.5, window: null, windowed_layers: [], rotation: null } as unknown as ModelInfo;
const HEAD = '1.1';
const TEXT = 'abcde';
const SAY = { below: 'below!', shared: 'shared!', mean: 'mean!' };
const TOKENS = {
  part: 'tokens', tokens: [...TEXT], offsets: [...TEXT].map((_, i) => [i, i + 1]), special: [...TEXT].map(() => false), n_token: N, query: N - 1, key: null, at: N - 1, edits: [], refused: [],
} as unknown as TokensReply;
const REPLY: HeadReply = { part: 'head', head: HEAD, kv_head: 0, readers: ['1.0', HEAD], query: N - 1, residual: 2, edited: false, rule: null };

function kept(edits: Acting[] = [], text = TEXT): Kept {
  const state = { model: 'tiny', text, special: true, head: HEAD, pinned: null, query: N - 1, key: null, edits: edits.map((edit) => ({ edit, on: true })), tracked: [], atEnd: false };
  return { format: 1, version: '0', saved: '2026-11-24', state, view: { hideFirst: false, principal: false, byPair: false }, info: INFO, tokens: { ...TOKENS, edits }, head: REPLY, prediction: null, words: null };
}

function opened(edits: Acting[] = []): Opened {
  const before = randomHead(N, D);
  const moved = { ...before, q: randomArray(N * D, 40) };
  return { kept: kept(edits), open: { reply: REPLY, arrays: edits.length ? moved : before, before, x: new Float32Array(0) } };
}

/** A page of the file that has had its answer to these edits. */
async function page(file: Opened, edits: Acting[]): Promise<Lab> {
  const lab = new Lab();
  lab.choose({ ...file.kept.state, query: N - 1, key: null, edits: edits.map((edit, i) => ({ id: i + 1, edit, on: true })) });
  const stop = lab.start('file:', () => new Answers(file, file.kept.tokens.edits as Acting[], SAY));
  await Promise.resolve();
  for (let turn = 0; turn < 20 && !lab.server.settled; turn++) {
    lab.server.ask();
    await new Promise((done) => setTimeout(done));
  }
  expect([lab.server.settled, lab.error]).toEqual([true, null]);
  stop();
  return lab;
}

const shift = (seed: number) => [...randomArray(D, seed)].map(Math.fround);
const shiftQuery: Acting = { kind: 'shift-query', head: HEAD, query: 4, shift: shift(7), strength: 1 };
const shiftKey: Acting = { kind: 'shift-key', kv_head: '1.0', token: 2, shift: shift(8), strength: 1 };
const ablateBelow: Acting = { kind: 'ablate', where: '0.1', to: 'zero', strength: 1 };

test('what is packed is unpacked, to the last bit', () => {
  const file = opened([shiftQuery]);
  const { kept: state, open } = unpack(fromBase64(toBase64(pack(file.kept, file.open))));
  expect(state).toEqual(file.kept);
  expect(open.arrays).toEqual(file.open.arrays);
  expect(open.before).toEqual(file.open.before);
});

test('arrays that no edit changed are written once', () => {
  const { tensors } = readSafetensors(pack(kept(), opened([shiftQuery]).open));
  expect([...tensors.keys()].filter((name) => name.endsWith('_before'))).toEqual(['q_before']);
});

test('bytes go through base64 and safetensors whatever they are', () => {
  fc.assert(
    fc.property(fc.float32Array({ maxLength: 300 }), fc.string(), (data, text) => {
      const tensors: Tensors = new Map([['a', { dtype: 'F32', shape: [data.length], data }]]);
      const read = readSafetensors(fromBase64(toBase64(writeSafetensors({ text }, tensors))));
      expect(read.metadata).toEqual({ text });
      expect(read.tensors.get('a')!.data).toEqual(data);
    }),
  );
});

test('a file of another format is not read', () => {
  expect(() => unpack(pack({ ...kept(), format: 2 as 1 }, opened().open))).toThrow('format 2; expected 1');
});

test('nothing that a person wrote breaks out of the page', () => {
  const template = '<title>%title%</title><script id="kept">%kept%</script>';
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.constantFrom('</title><script>', '<!-- ', '$& $` %title% %kept%', '"\'&amp;')), (text) => {
      const page = fill(template, text, pack(kept([], text), opened().open));
      const [, title, data] = /^<title>([^<]*)<\/title><script id="kept">([A-Za-z0-9+/=]*)<\/script>$/.exec(page)!;
      expect(title).not.toMatch(/[<>"]/);
      expect(unpack(fromBase64(data!)).kept.state.text).toBe(text);
    }),
  );
});

test('a template without its places is refused', () => {
  expect(() => fill('<title>%title%</title>', 'x', new ArrayBuffer(0))).toThrow('0 places for %kept%');
});

test('replayed shifts are the drags that the page computes', () => {
  const head = randomHead(N, D);
  const model = headModel(INFO, HEAD);
  const both = replay(head, [shiftQuery, shiftKey], HEAD, INFO);
  const dragged = attendRow(head, model, [], 4, { q: Float32Array.from(shift(7)), key: { index: 2, shift: Float32Array.from(shift(8)) } });
  const row = attendRow(both, model, [], 4);
  row.weights.forEach((weight, j) => expect(weight).toBeCloseTo(dragged.weights[j]!, 6));
  const elsewhere: Acting[] = [{ ...shiftQuery, head: '1.0' }, { ...shiftKey, kv_head: '2.0' }] as Acting[];
  expect(replay(head, elsewhere, HEAD, INFO)).toMatchObject({ q: head.q, k: head.k, v: head.v });
});

test('an aim is replayed after keys have moved, whatever the order in which they are listed', () => {
  const head = randomHead(N, D);
  const aim: Acting = { kind: 'aim-query', head: HEAD, query: 4, key: 1, margin: 3, strength: 1 };
  const { scores } = attendRow(replay(head, [aim, shiftKey], HEAD, INFO), headModel(INFO, HEAD), [], 4);
  const others = [...scores].filter((_, j) => j !== 1);
  expect(scores[1]! - Math.max(...others)).toBeCloseTo(3, 4);
});

test('half a swap hands over the mean of two values, and its length', () => {
  const head = randomHead(N, D);
  const swap: Acting = { kind: 'swap-value', kv_head: '1.0', token: 0, source: 3, strength: 0.5 };
  const { v, valueLengths } = replay(head, [swap], HEAD, INFO);
  for (let i = 0; i < D; i++) expect(v[i]).toBeCloseTo((head.v[i]! + head.v[3 * D + i]!) / 2, 6);
  const write = attendRow({ ...head, v, valueLengths }, headModel(INFO, HEAD), [], 0).writeLength;
  expect(valueLengths[0]).toBeCloseTo(write, 5);
});

test('what changes the input of the head is beyond a file, and says why', () => {
  const share: Acting = { kind: 'share-kv', first_layer: 1, last_layer: 2, n_kv_head: 1, strength: 1 };
  const cases: [Acting, boolean, string | null][] = [
    [ablateBelow, true, 'below'],
    [{ kind: 'mute', where: 'all', key: 0, query: null, strength: 1 }, true, 'below'],
    [{ kind: 'mute', where: '1', key: 0, query: null, strength: 1 }, true, null],
    [{ kind: 'ablate', where: '2.0', to: 'zero', strength: 1 }, true, null],
    [share, true, 'shared'],
    [{ ...share, first_layer: 2 } as Acting, true, null],
    [{ kind: 'ablate', where: HEAD, to: 'mean', strength: 1 }, true, null],
    [{ kind: 'ablate', where: HEAD, to: 'mean', strength: 1 }, false, 'mean'],
  ];
  for (const [edit, hasMean, reason] of cases) expect(beyond(edit, HEAD, INFO, hasMean)).toBe(reason);
});

test('as it was saved, the arrays are the saved ones; without its edits, the unedited ones', async () => {
  const file = opened([ablateBelow]);
  const asSaved = await page(file, [ablateBelow]);
  expect(asSaved.open!.arrays.q).toEqual(file.open.arrays.q);
  expect(asSaved.open!.reply.residual).toBe(2);
  const without = await page(file, []);
  expect(without.open!.arrays.q).toEqual(file.open.before.q);
  expect(without.open!.reply.residual).toBeNull();
});

test('a drag adds to what an edit below had done; a key that an aim looked at stays', async () => {
  const aim: Acting = { kind: 'aim-query', head: HEAD, query: 4, key: 1, margin: 3, strength: 1 };
  const file = opened([ablateBelow, aim]);
  const lab = await page(file, [ablateBelow, aim, shiftQuery, shiftKey]);
  const q = Float32Array.from(file.open.arrays.q);
  shift(7).forEach((by, i) => (q[4 * D + i]! += by));
  expect(lab.open!.arrays.q).toEqual(q);
  expect(lab.open!.arrays.k).toEqual(file.open.arrays.k);
  expect(lab.shown!.tokens.refused).toEqual([{ edit: 3, message: 'below!' }]);
});

test('another query is answered, without the residual that the file does not hold', async () => {
  const file = opened();
  file.kept.state.query = 2;
  const lab = new Lab();
  lab.choose({ ...file.kept.state, query: 2, key: null, edits: [] });
  const stop = lab.start('file:', () => new Answers(file, [], SAY));
  for (let turn = 0; turn < 20 && !lab.server.settled; turn++) {
    await new Promise((done) => setTimeout(done));
    lab.server.ask();
  }
  stop();
  expect(lab.open!.reply).toMatchObject({ query: 2, residual: null });
  expect(lab.row!.weights).toEqual(attendRow(file.open.arrays, headModel(INFO, HEAD), [], 2).weights);
  const found = [2, 3, 4].map((query) => attendRow(file.open.arrays, headModel(INFO, HEAD), [], query).weights[2]!);
  expect([...lab.shown!.found!.weights]).toEqual([0, 0, ...found].map(Math.fround));
});

import { describe, expect, test } from 'vitest';
import { bytesPerToken, LLAMA_3_8B } from '../src/core/cache';
import { chipsOf, hatOf, readersOf, runsOf, sharedLayers, standing } from '../src/core/chips';
import { withDrag, type EditItem } from '../src/core/edits';
import { bytes, label, percent, signed } from '../src/core/format';
import type { TokensReply } from '../src/core/protocol';
import { ticks } from '../src/draw/curve';

const share = (id: number, first_layer: number, last_layer: number, on = true): EditItem => ({
  id,
  edit: { kind: 'share-kv', first_layer, last_layer, n_kv_head: 1, strength: 1 },
  on,
});
const tie: EditItem = { id: 9, edit: { kind: 'tie', where: '1.2', strength: 0.5 }, on: true };
const moved = (id: number, query: number, shift: number[], strength = 1): EditItem => ({
  id,
  edit: { kind: 'shift-query', head: '1.2', query, shift, strength },
  on: true,
});
const offsets = [0, 1, 2].map((start) => ({ start, end: start + 1 }));

describe('chips', () => {
  test('all that shares K/V heads is one', () => {
    const chips = chipsOf([share(1, 0, 2), tie, share(2, 5, 5)]);
    expect(chips.map(({ items }) => items.map(({ id }) => id))).toEqual([[1, 2], [9]]);
    expect([chips[0]!.kind, chips[1]!.strength]).toEqual(['share-kv', 0.5]);
  });

  test('say why an edit does not act', () => {
    const tokens = { edits: [null, null, tie.edit, tie.edit], refused: [{ edit: 0, message: 'no such head' }] } as unknown as TokensReply;
    const ask = (id: number) => standing(id, [4, 5, 6, 7], tokens, [3]);
    expect([4, 5, 6, 7, 8].map(ask)).toEqual(['no such head', 'waits', null, 'unchanged', null]);
  });

  test('name the heads that read a K/V head, and the hat they wear', () => {
    const sizes = { n_layer: 30, n_head: 9, n_kv_head: 3 };
    expect(readersOf('23.1', sizes)).toEqual(['23.3', '23.4', '23.5']);
    expect([readersOf('30.1', sizes), readersOf('23.3', sizes)]).toEqual([[], []]);
    expect([hatOf('aim-query'), hatOf('mute'), hatOf('swap-value'), hatOf('ablate')]).toEqual(['q', 'k', 'v', null]);
  });
});

describe('shared layers', () => {
  test('are counted once, and only while switched on', () => {
    expect([...sharedLayers([share(1, 0, 2), share(2, 2, 3), share(3, 8, 9, false)])]).toEqual([0, 1, 2, 3]);
  });

  test('become runs of neighbours', () => {
    expect(runsOf([7, 3, 2, 9, 8])).toEqual([[2, 3], [7, 9]]); // prettier-ignore
  });
});

describe('a drag', () => {
  test('joins the shift of the same query', () => {
    const edits = withDrag([moved(1, 2, [1, 0]), tie], moved(2, 2, [0.5, 3]), offsets);
    expect(edits).toEqual([moved(1, 2, [1.5, 3]), tie]);
  });

  test('stands alone behind another query, another strength, or an aim in between', () => {
    const aim: EditItem = { id: 5, edit: { kind: 'aim-query', head: '1.2', query: 2, key: 0, margin: 3, strength: 1 }, on: true };
    const drag = moved(7, 2, [1, 1]);
    for (const before of [[moved(1, 1, [1, 0])], [moved(1, 2, [1, 0], 0.5)], [moved(1, 2, [1, 0]), aim]]) {
      expect(withDrag(before, drag, offsets)).toEqual([...before, drag]);
    }
    expect(withDrag([aim, moved(1, 2, [1, 0])], drag, offsets)).toHaveLength(2);
  });
});

test('numbers and tokens as printed', () => {
  expect([0, 0.0001, 0.1034, 1].map(percent)).toEqual(['0.0', '<0.1', '10.3', '100.0']);
  expect(signed(-1.857)).toBe('−1.86');
  expect([label(' Italy'), label('\n'), label(' ')]).toEqual(['Italy', '⏎', '␣']);
  expect([512, 22.5 * 1024, 128 * 1024, 2 ** 30, 540 * 2 ** 20].map(bytes)).toEqual(['512 B', '22.5 KiB', '128 KiB', '1 GiB', '540 MiB']);
  expect([ticks([22.5, 7.5]), ticks([9.4])]).toEqual([[0, 5, 10, 15, 20, 25], [0, 2, 4, 6, 8, 10]]); // prettier-ignore
});

test('Llama-3-8B keeps 128 KiB a token instead of 512, 1 GiB instead of 4 at 8,192 tokens', () => {
  expect([8, 32].map((heads) => bytesPerToken(LLAMA_3_8B, heads) / 1024)).toEqual([128, 512]);
  expect([8, 32].map((heads) => (8192 * bytesPerToken(LLAMA_3_8B, heads)) / 2 ** 30)).toEqual([1, 4]);
});

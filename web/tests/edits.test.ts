import { describe, expect, test } from 'vitest';
import { fromRange, type Place } from '../src/core/anchors';
import { describe as inWords, editToWire, followEdit, roundShift, scopeOf, tokensOf, waits, type EditItem } from '../src/core/edits';
import type { Edit } from '../src/core/protocol';

const text = '😀 In Italy they speak';
const italy = fromRange(text, 5, 11, true);
const speak = fromRange(text, 16, 22, true);
const offsets = [[0, 2], [2, 5], [5, 11], [11, 16], [16, 22]].map(([start, end]) => ({ start: start!, end: end! }));
const tokens = offsets.map(({ start, end }) => text.slice(start, end));
const item = (edit: Edit<Place>): EditItem => ({ id: 1, edit, on: true });
const mute = item({ kind: 'mute', where: '23.4', key: italy, query: null, strength: 1 });

describe('an anchored edit', () => {
  test('goes over the wire in code points', () => {
    expect(editToWire(mute, text)).toEqual({ kind: 'mute', where: '23.4', key: [4, 10], query: null, strength: 1 });
    const swap = item({ kind: 'swap-value', kv_head: '23.1', token: italy, source: 0, strength: 0.5 });
    expect(editToWire(swap, text)).toMatchObject({ token: [4, 10], source: 0 });
    expect(editToWire(item({ kind: 'tie', where: '13.8', strength: 1 }), text)).toEqual({ kind: 'tie', where: '13.8', strength: 1 });
  });

  test('follows its words, waits without them, and returns', () => {
    const moved = followEdit(mute, text, `Now ${text}`, 4);
    expect(editToWire(moved, `Now ${text}`)).toMatchObject({ key: [8, 14] });
    const gone = '😀 In they speak';
    const lost = followEdit(mute, text, gone);
    expect([waits(mute), waits(lost), waits(followEdit(lost, gone, text))]).toEqual([false, true, false]);
    expect(editToWire(lost, gone)).toMatchObject({ key: [0, 0] });
  });

  test('names its tokens', () => {
    expect(tokensOf(mute.edit)).toEqual([italy]);
    expect(tokensOf({ kind: 'aim-query', head: '1.2', query: 5, key: 3, margin: 3, strength: 1 })).toEqual([5, 3]);
    expect(tokensOf({ kind: 'tie', where: 'all', strength: 1 })).toEqual([]);
  });
});

test('a shift keeps its float32 numbers in few digits', () => {
  const shift = Float64Array.of(0.1, 1 / 3, 0, 123456.789, 1e-30, -2.5);
  const rounded = roundShift(shift);
  expect(rounded.map(Math.fround)).toEqual([...shift].map(Math.fround));
  expect(rounded[0]).toBe(0.1);
  expect(Math.max(...rounded.map((x) => String(x).replace(/\D/g, '').length))).toBeLessThanOrEqual(12);
});

describe('where an edit acts', () => {
  test('model, layers, layer, head, K/V head', () => {
    const strength = 1;
    expect(scopeOf({ kind: 'tie', where: 'all', strength }, 30)).toEqual({ kind: 'model', first: 0, last: 29, head: null });
    expect(scopeOf({ kind: 'tie', where: '7', strength }, 30)).toEqual({ kind: 'layer', first: 7, last: 7, head: null });
    expect(scopeOf(mute.edit, 30)).toEqual({ kind: 'head', first: 23, last: 23, head: 4 });
    const shared: Edit = { kind: 'share-kv', first_layer: 20, last_layer: 29, n_kv_head: 1, strength };
    expect(scopeOf(shared, 30)).toEqual({ kind: 'layers', first: 20, last: 29, head: null });
    const dragged: Edit = { kind: 'shift-key', kv_head: '13.2', token: 3, shift: [1], strength };
    expect(scopeOf(dragged, 30)).toEqual({ kind: 'kv-head', first: 13, last: 13, head: 2 });
  });
});

test('chips say what an edit does', () => {
  const strength = 1;
  const all: [Edit<Place>, string][] = [
    [mute.edit, 'mute " Italy" in 23.4'],
    [{ kind: 'mute', where: '7', key: italy, query: speak, strength }, 'mute " Italy" for " speak" in layer 7'],
    [{ kind: 'shift-key', kv_head: '13.2', token: italy, shift: [], strength }, 'drag key " Italy" in K/V 13.2'],
    [{ kind: 'swap-value', kv_head: '23.1', token: italy, source: 0, strength }, '" Italy" hands over the value of "😀" in K/V 23.1'],
    [{ kind: 'share-kv', first_layer: 20, last_layer: 29, n_kv_head: 1, strength }, 'share K/V in layers 20–29'],
    [{ kind: 'share-kv', first_layer: 3, last_layer: 3, n_kv_head: 2, strength }, 'share K/V in layer 3 as 2'],
    [{ kind: 'shift-query', head: '13.8', query: speak, shift: [], strength }, 'drag q of " speak" in 13.8'],
    [{ kind: 'aim-query', head: '13.8', query: speak, key: italy, margin: 3, strength }, 'aim q of " speak" at " Italy" in 13.8'],
    [{ kind: 'tie', where: 'all', strength }, 'tie keys to queries in all heads'],
    [{ kind: 'stop-rotation', where: '13.8', strength }, 'stop rotation in 13.8'],
    [{ kind: 'strengthen', where: '13.8', query: speak, key: italy, amount: -2, strength }, 'weaken by 2 in 13.8: " speak" → " Italy"'],
    [{ kind: 'scale-scores', where: '13.8', factor: 0.5, strength }, 'scores × 0.5 in 13.8'],
    [{ kind: 'ablate', where: '13.8', to: 'mean', strength }, 'ablate 13.8 to its mean'],
    [{ kind: 'mute', where: 'all', key: 9, query: null, strength }, 'mute #9 in all heads'],
  ];
  for (const [edit, words] of all) expect(inWords(item(edit), tokens, offsets)).toBe(words);
  const lost = followEdit(mute, text, '😀 In they speak');
  expect(inWords(lost, ['😀', ' In', ' they', ' speak'], [])).toBe('mute " Italy" in 23.4');
});

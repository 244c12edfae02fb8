/** Edits as the page keeps them: anchored to characters, switched on or off, told in a few words. */
import { en } from '../en/core';
import { follow, locate, toWire, type Place, type Range } from './anchors';
import type { Edit } from './protocol';

export interface EditItem {
  id: number;
  edit: Edit<Place>;
  on: boolean;
}

/** The same edit with every token it names passed through `rename`. */
export function withTokens<A, B>(edit: Edit<A>, rename: (token: A) => B): Edit<B> {
  const renamed: Record<string, unknown> = { ...edit };
  for (const field of ['token', 'source', 'query', 'key']) {
    if (renamed[field] !== undefined && renamed[field] !== null) renamed[field] = rename(renamed[field] as A);
  }
  return renamed as Edit<B>;
}

/** The tokens it names. */
export function tokensOf<T>(edit: Edit<T>): T[] {
  const tokens: T[] = [];
  withTokens(edit, (token) => tokens.push(token));
  return tokens;
}

export function editToWire(item: EditItem, text: string): Edit {
  return withTokens(item.edit, (place) => toWire(place, text));
}

/** The item after the text changed: its tokens go along with their characters. */
export function followEdit(item: EditItem, before: string, after: string, caret?: number): EditItem {
  const go = (place: Place) => (typeof place === 'number' ? place : follow(place, before, after, caret));
  return { ...item, edit: withTokens(item.edit, go) };
}

/** It waits because a token it names is gone. */
export function waits(item: EditItem): boolean {
  return tokensOf(item.edit).some((place) => typeof place !== 'number' && place.lost);
}

/** A shift in the fewest digits that name the same float32 numbers: the engine computes in float32. */
export function roundShift(shift: ArrayLike<number>): number[] {
  return Array.from(shift, (x) => {
    const single = Math.fround(x);
    const digits = [6, 7, 8, 9].find((n) => Math.fround(Number(single.toPrecision(n))) === single);
    return digits === undefined ? single : Number(single.toPrecision(digits));
  });
}

/** The edits after a drag: what moves the same thing already grows by its shift, unless something acts in between. */
export function withDrag(edits: readonly EditItem[], dragged: EditItem, offsets: readonly Range[]): EditItem[] {
  const drag = dragged.edit;
  const between = edits.findLastIndex(({ edit, on }) => on && (edit.kind === 'aim-query' || edit.kind === 'share-kv'));
  const at = edits.findLastIndex(({ edit, on }) => on && edit.strength === 1 && movesTheSame(edit, drag, offsets));
  const into = edits[at]?.edit;
  if (at < between || !into || !('shift' in into) || !('shift' in drag)) return [...edits, dragged];
  const shift = roundShift(into.shift.map((by, i) => by + drag.shift[i]!));
  return edits.with(at, { ...edits[at]!, edit: { ...into, shift } });
}

function movesTheSame(a: Edit<Place>, b: Edit<Place>, offsets: readonly Range[]): boolean {
  const same = (x: Place, y: Place) => locate(x, offsets) !== null && locate(x, offsets) === locate(y, offsets);
  if (a.kind === 'shift-query' && b.kind === 'shift-query') return a.head === b.head && same(a.query, b.query);
  return a.kind === 'shift-key' && b.kind === 'shift-key' && a.kv_head === b.kv_head && same(a.token, b.token);
}

// ---- where it acts

export interface Scope {
  kind: 'model' | 'layers' | 'layer' | 'head' | 'kv-head';
  first: number;
  last: number;
  /** Within its layer, where it is one head. */
  head: number | null;
}

/** Where an edit acts, with layers counted from 0; `n_layer` closes the scope `all`. */
export function scopeOf<T>(edit: Edit<T>, n_layer: number): Scope {
  if (edit.kind === 'share-kv') return { kind: 'layers', first: edit.first_layer, last: edit.last_layer, head: null };
  const address = 'where' in edit ? edit.where : 'head' in edit ? edit.head : edit.kv_head;
  if (address === 'all') return { kind: 'model', first: 0, last: n_layer - 1, head: null };
  const [layer, head] = address.split('.').map(Number) as [number, number?];
  if (head === undefined) return { kind: 'layer', first: layer, last: layer, head: null };
  return { kind: 'kv_head' in edit ? 'kv-head' : 'head', first: layer, last: layer, head };
}

// ---- in words

/** What the chip says: `mute " Italy" in 23.4`. Names tokens as they print; a lost one by its last characters. */
export function describe(item: EditItem, tokens: readonly string[], offsets: readonly Range[]): string {
  const name = (place: Place): string => {
    const token = locate(place, offsets);
    if (token !== null && tokens[token] !== undefined) return JSON.stringify(tokens[token]);
    return typeof place === 'number' ? `#${place}` : JSON.stringify(place.text);
  };
  return inWords(withTokens(item.edit, name));
}

function inWords(edit: Edit<string>): string {
  const say = en.edit;
  switch (edit.kind) {
    case 'shift-key':
      return say.shiftKey(edit.token, edit.kv_head);
    case 'swap-value':
      return say.swapValue(edit.token, edit.source, edit.kv_head);
    case 'share-kv':
      return say.shareKv(layers(edit.first_layer, edit.last_layer), edit.n_kv_head);
    case 'shift-query':
      return say.shiftQuery(edit.query, edit.head);
    case 'aim-query':
      return say.aimQuery(edit.query, edit.key, edit.head);
    case 'tie':
      return say.tie(place(edit.where));
    case 'stop-rotation':
      return say.stopRotation(place(edit.where));
    case 'mute':
      return say.mute(edit.key, edit.query, place(edit.where));
    case 'strengthen':
      return say.strengthen(edit.amount, place(edit.where), edit.query, edit.key);
    case 'scale-scores':
      return say.scaleScores(edit.factor, place(edit.where));
    case 'ablate':
      return say.ablate(place(edit.where), typeof edit.to === 'string' ? edit.to : 'vector');
  }
}

function place(where: string): string {
  return where === 'all' ? en.edit.everywhere : where.includes('.') ? where : en.edit.layer(where);
}

function layers(first: number, last: number): string {
  return first === last ? en.edit.layer(first) : en.edit.layers(first, last);
}

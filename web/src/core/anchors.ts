/**
 * A choice of a token that follows its characters while the text changes. Offsets of the page are UTF-16 units, as in
 * a textarea; those of the wire are Unicode code points.
 */
import type { TokenRef } from './protocol';

export interface Range {
  start: number;
  end: number;
}

export interface Anchor extends Range {
  /** The characters it stands on. */
  text: string;
  /** Of several tokens that share these characters: which one, from 0; the last, if there are fewer. */
  part: number;
  /** Spaces alone do not keep it alive: an edit goes with the word it was made for. */
  strict: boolean;
  /** Texts in which it stood whole: the last one before characters of it went, then the one before it was lost. */
  past: (Range & { text: string })[];
  /** All its characters are gone; it returns when the text is one of its past again. */
  lost: boolean;
}

/** A token by its characters, or by its position where it has none (one that the tokenizer added by itself). */
export type Place = Anchor | number;

export function fromRange(text: string, start: number, end: number, strict = false, part = 0): Anchor {
  return { start, end, text: text.slice(start, end), part, strict, past: [], lost: false };
}

const LAST_PART = 99;

/** What was typed last: the character before the caret, with all its parts. */
export function fromCaret(text: string, caret: number): Anchor {
  const length = /[\uD800-\uDBFF][\uDC00-\uDFFF]$/.test(text.slice(0, caret)) ? 2 : 1;
  return fromRange(text, caret - length, caret, false, LAST_PART);
}

/** A token's own anchor, told apart from those that share its characters. */
export function fromToken(text: string, token: number, offsets: readonly Range[], strict = false): Anchor {
  const { start, end } = offsets[token]!;
  return fromRange(text, start, end, strict, covering({ start, end }, offsets).indexOf(token));
}

/** Where the anchor is after the text changed. `caret`, in `after`, tells which of several equal characters changed. */
export function follow(anchor: Anchor, before: string, after: string, caret?: number): Anchor {
  if (before === after) return anchor;
  const undone = anchor.past.find(({ text }) => text === after);
  if (undone) return fromRange(after, undone.start, undone.end, anchor.strict, anchor.part);
  if (anchor.lost) return anchor;
  const change = difference(before, after, caret);
  const left = { start: anchor.start, end: Math.min(anchor.end, change.start) };
  const right = { start: Math.max(anchor.start, change.end), end: anchor.end };
  const whole = { start: anchor.start, end: anchor.end, text: before };
  const survives = textOf(before, left) + textOf(before, right);
  if (anchor.strict ? !/\S/u.test(survives) : survives === '') {
    return { ...anchor, past: [...anchor.past, whole], lost: true };
  }
  const start = left.start < left.end ? left.start : right.start + change.growth;
  const end = right.start < right.end ? right.end + change.growth : left.end;
  const text = after.slice(start, end);
  const firstCut = survives.length < anchor.end - anchor.start && anchor.past.length === 0;
  const past = firstCut ? [whole] : anchor.past;
  return { ...anchor, start, end, text, past };
}

/** The token that covers most of the anchor's characters (of equals its part), or null. As the server decides. */
export function locate(place: Place, offsets: readonly Range[]): number | null {
  if (typeof place === 'number') return place < offsets.length ? place : null;
  if (place.lost) return null;
  const equals = covering(place, offsets);
  return equals[Math.min(place.part, equals.length - 1)] ?? null;
}

/** The tokens that cover most of a range: several, where they are parts of one character. */
function covering(range: Range, offsets: readonly Range[]): number[] {
  let equals: number[] = [];
  let most = 0;
  offsets.forEach(({ start, end }, token) => {
    const covered = Math.min(end, range.end) - Math.max(start, range.start);
    if (covered > most) [equals, most] = [[token], covered];
    else if (covered === most && most > 0) equals.push(token);
  });
  return equals;
}

// ---- the wire

/** How the wire names the anchor's token. Lost anchors meet no token: an empty range. */
export function toWire(place: Place, text: string): TokenRef {
  if (typeof place === 'number') return place;
  if (place.lost) return [0, 0];
  const start = countPoints(text, 0, place.start);
  const end = start + countPoints(text, place.start, place.end);
  return place.part > 0 ? [start, end, place.part] : [start, end];
}

/** An anchor on what the wire named. */
export function fromWire(ref: TokenRef, text: string, strict = false): Place {
  if (typeof ref === 'number') return ref;
  const [start, end, part] = ref;
  const [range] = rangesFromWire([[start, end]], text);
  return fromRange(text, range!.start, range!.end, strict, part);
}

/** Code point offsets, ascending as tokens are, as UTF-16 ranges. One walk over the text. */
export function rangesFromWire(offsets: readonly (readonly [number, number])[], text: string): Range[] {
  let unit = 0;
  let point = 0;
  const unitAt = (target: number): number => {
    if (target < point) [unit, point] = [0, 0];
    while (point < target && unit < text.length) {
      unit += text.codePointAt(unit)! > 0xffff ? 2 : 1;
      point++;
    }
    return unit;
  };
  return offsets.map(([start, end]) => ({ start: unitAt(start), end: unitAt(end) }));
}

// ---- differences

interface Change extends Range {
  /** By how much the text behind it moved. */
  growth: number;
}

/** The one stretch of `before` that was replaced: what common beginning and end leave over. */
export function difference(before: string, after: string, caret = after.length): Change {
  const most = Math.min(before.length, after.length);
  const growth = after.length - before.length;
  const prefix = commonPrefix(before, after, most);
  const suffix = commonSuffix(before, after, most);
  // Where both could claim the same characters, what was typed ends at the caret.
  const least = Math.max(0, most - prefix);
  const behind = Math.min(suffix, Math.max(least, after.length - caret));
  const ahead = Math.min(prefix, most - behind);
  return unsplit(before, after, { start: ahead, end: before.length - behind, growth });
}

function commonPrefix(a: string, b: string, most: number): number {
  let n = 0;
  while (n < most && a.charCodeAt(n) === b.charCodeAt(n)) n++;
  return n;
}

function commonSuffix(a: string, b: string, most: number): number {
  let n = 0;
  while (n < most && a.charCodeAt(a.length - 1 - n) === b.charCodeAt(b.length - 1 - n)) n++;
  return n;
}

/** The change, widened so that it cuts no surrogate pair in two. */
function unsplit(before: string, after: string, change: Change): Change {
  const { growth } = change;
  const pair = /[\uD800-\uDBFF][\uDC00-\uDFFF]/;
  const cuts = (text: string, at: number) => pair.test(text.slice(Math.max(0, at - 1), at + 1));
  const start = cuts(before, change.start) || cuts(after, change.start) ? change.start - 1 : change.start;
  const end = cuts(before, change.end) || cuts(after, change.end + growth) ? change.end + 1 : change.end;
  return { start, end, growth };
}

function textOf(text: string, { start, end }: Range): string {
  return text.slice(start, Math.max(start, end));
}

function countPoints(text: string, from: number, to: number): number {
  let points = 0;
  for (let unit = from; unit < to; points++) unit += text.codePointAt(unit)! > 0xffff ? 2 : 1;
  return points;
}

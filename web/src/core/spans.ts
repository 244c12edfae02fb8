/** Where the tokens of the picture stand in the text as it is now, which may be ahead of the picture. */
import { difference, type Range } from './anchors';

/** A stretch of text and the tokens on it: none between tokens, several where they are parts of one character. */
export interface Piece extends Range {
  tokens: number[];
}

/** The ranges after the text changed, the caret in `after`. A token whose characters are gone has an empty range. */
export function carried(ranges: readonly Range[], before: string, after: string, caret?: number): Range[] {
  if (before === after) return [...ranges];
  const change = difference(before, after, caret);
  return ranges.map(({ start, end }) => {
    const from = start < change.start ? start : Math.max(start, change.end) + change.growth;
    const to = end > change.end ? end + change.growth : Math.min(end, change.start);
    return { start: from, end: Math.max(from, to) };
  });
}

/** The whole text in pieces, one after the other. */
export function piecesOf(ranges: readonly Range[], length: number): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  ranges.forEach(({ start, end }, token) => {
    if (start === end) return;
    const from = Math.max(start, at);
    if (start < at) pieces.at(-1)!.tokens.push(token);
    if (from >= end) return;
    if (from > at) pieces.push({ start: at, end: from, tokens: [] });
    pieces.push({ start: from, end, tokens: [token] });
    at = end;
  });
  if (at < length) pieces.push({ start: at, end: length, tokens: [] });
  return pieces;
}

export function samePieces(some: readonly Piece[], others: readonly Piece[]): boolean {
  if (some.length !== others.length) return false;
  return some.every(({ start, end, tokens }, i) => {
    const other = others[i]!;
    return start === other.start && end === other.end && tokens.length === other.tokens.length && tokens.every((token, j) => token === other.tokens[j]);
  });
}

/** Tokens without characters of their own, as the tokenizer added them: before the text and behind it. */
export function bareTokens(ranges: readonly Range[]): { before: number[]; behind: number[] } {
  const first = ranges.findIndex(({ start, end }) => start < end);
  const bare = ranges.flatMap(({ start, end }, token) => (start === end ? [token] : []));
  const isBefore = (token: number) => first < 0 || token < first;
  return { before: bare.filter(isBefore), behind: bare.filter((token) => !isBefore(token)) };
}

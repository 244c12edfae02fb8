import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bareTokens, carried, piecesOf, samePieces } from '../src/core/spans';

const words = (text: string) => [...text.matchAll(/ ?\w+/g)].map((m) => ({ start: m.index, end: m.index + m[0].length }));
const printed = (before: string, typed: string) => {
  const after = typed.replace('|', '');
  return carried(words(before), before, after, typed.indexOf('|')).map(({ start, end }) => after.slice(start, end));
};

test.each([
  ['The cat sat', 'The cat sat on|', ['The', ' cat', ' sat']],
  ['The cat sat', 'The big| cat sat', ['The', ' cat', ' sat']],
  ['The cat sat', 'Now |The cat sat', ['The', ' cat', ' sat']],
  ['The cat sat', 'The caaa|t sat', ['The', ' caaat', ' sat']],
  ['The cat sat', 'The| sat', ['The', '', ' sat']],
  ['The cat sat', '|', ['', '', '']],
])('%s → %s', (before, after, expected) => expect(printed(before, after)).toEqual(expected));

test('pieces cover any text once, in order, whatever was typed since', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      const pieces = piecesOf(carried(words(before), before, after), after.length);
      expect(pieces.map(({ start, end }) => after.slice(start, end)).join('')).toBe(after);
      expect(pieces.every(({ start, end }) => start < end)).toBe(true);
    }),
  );
});

test('parts of one character share its piece', () => {
  const ranges = [{ start: 0, end: 2 }, { start: 2, end: 4 }, { start: 2, end: 4 }, { start: 4, end: 5 }];
  expect(piecesOf(ranges, 6)).toEqual([
    { start: 0, end: 2, tokens: [0] },
    { start: 2, end: 4, tokens: [1, 2] },
    { start: 4, end: 5, tokens: [3] },
    { start: 5, end: 6, tokens: [] },
  ]);
});

test('tokens without characters stand before the text or behind it', () => {
  const ranges = [{ start: 0, end: 0 }, { start: 0, end: 3 }, { start: 3, end: 3 }];
  expect(bareTokens(ranges)).toEqual({ before: [0], behind: [2] });
  expect(bareTokens([{ start: 0, end: 0 }, { start: 0, end: 0 }])).toEqual({ before: [0, 1], behind: [] });
});

describe('pieces as they were', () => {
  const pieces = piecesOf([{ start: 0, end: 3 }, { start: 3, end: 7 }, { start: 3, end: 7 }], 9);

  test('the same from ranges that were made anew', () => {
    expect(samePieces(pieces, piecesOf([{ start: 0, end: 3 }, { start: 3, end: 7 }, { start: 3, end: 7 }], 9))).toBe(true);
  });

  test.each([
    ['a longer text', [[0, 3], [3, 7], [3, 7]], 10],
    ['a border that moved', [[0, 2], [2, 7], [2, 7]], 9],
    ['a token less on a character', [[0, 3], [3, 7]], 9],
    ['another token on it', [[0, 3], [0, 0], [3, 7], [3, 7]], 9],
    ['no text', [], 0],
  ] as const)('%s is another', (_, ranges, length) => {
    const others = piecesOf(ranges.map(([start, end]) => ({ start, end })), length);
    expect(samePieces(pieces, others)).toBe(false);
    expect(samePieces(others, pieces)).toBe(false);
  });
});

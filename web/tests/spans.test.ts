import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bareTokens, carried, piecesOf } from '../src/core/spans';

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

import { expect, test } from 'vitest';
import { laterOf, tokenOf, topOf } from '../src/lesson/instruments/weights';

const whole = [
  [0.1, 0.2, 0.3, 0.4],
  [0.25, 0.25, 0.25, 0.25],
  [0.4, 0.1, 0.1, 0.4],
  [1, 0, 0, 0],
];
const causal = whole.map((row, query) => row.map((weight, key) => (key > query ? null : weight)));

test('what goes to later words leaves special tokens out', () => {
  const special = [true, false, false, true];
  expect(laterOf(whole, special, 1)).toEqual({ weight: 0.25, words: 1, hidden: 0 });
  expect(laterOf(whole, special, 2)).toEqual({ weight: 0, words: 0, hidden: 0 });
});

test('behind a causal mask nothing goes there, and the masked words are counted', () => {
  expect(laterOf(causal, [false, false, false, false], 1)).toEqual({ weight: 0, words: 2, hidden: 2 });
});

test('the largest weight of a row, masked keys apart', () => {
  expect(topOf(whole[0]!)).toBe(3);
  expect(topOf(causal[2]!)).toBe(0);
});

test('a word is found with or without the space before it, the last of several', () => {
  expect(tokenOf(['The', ' cat', ' saw', ' cat'], 'cat')).toBe(3);
  expect(tokenOf(['[CLS]', 'the', 'cat'], ' cat')).toBe(2);
  expect(tokenOf(['The', ' cats'], 'cat')).toBeNull();
});

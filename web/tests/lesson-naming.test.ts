import { expect, test } from 'vitest';
import { nameOf, textOf, tokenNamed, wordIn } from '../src/lesson/naming';

const TEXT = 'In France they speak French. In Italy they speak';
const tokens = ['In', ' France', ' they', ' speak', ' French', '.', ' In', ' Italy', ' they', ' speak'];
let end = 0;
const offsets = tokens.map((token): [number, number] => [end, (end += token.length)]);
const said = { tokens, offsets };

test('a word is not found as the beginning of a longer one', () => {
  expect(wordIn('It was Italy', 'It')).toEqual([0, 2]);
  expect(wordIn('Italy', 'It')).toBeNull();
});

test('a name is a text, the last of several, or a number', () => {
  expect(tokenNamed(TEXT, ' they')).toEqual([37, 42]);
  expect(tokenNamed(TEXT, ' they', 0)).toEqual([9, 14]);
  expect(tokenNamed(TEXT, '#2')).toBe(2);
  expect(tokenNamed(TEXT, ' nobody')).toBeNull();
  expect(tokenNamed('the # sign', ' #')).toEqual([3, 5]);
});

test('every token has one name, which means it and no other', () => {
  const names = tokens.map((_, at) => nameOf(TEXT, said, at));
  expect(names).toEqual(['#0', ' France', '#2', '#3', ' French', '.', ' In', ' Italy', ' they', ' speak']);
  names.forEach((name, at) => {
    const ref = tokenNamed(TEXT, name);
    expect(typeof ref === 'number' ? ref : offsets.findIndex(([start]) => start === (ref as number[])[0])).toBe(at);
  });
});

test('a token that reads like a number is named by its own', () => {
  expect(nameOf('#7', { tokens: ['#7'], offsets: [[0, 2]] }, 0)).toBe('#0');
});

test('a person reads the text, never the number', () => {
  expect(textOf('#2', tokens)).toBe(' they');
  expect(textOf(' Italy', tokens)).toBe(' Italy');
  expect(textOf('#2')).toBe('#2');
});

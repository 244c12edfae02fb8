import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { difference, follow, fromCaret, fromRange, fromToken, fromWire, locate, rangesFromWire, toWire, type Anchor } from '../src/core/anchors';

const on = (text: string, word: string, strict = false): Anchor => {
  const start = text.indexOf(word);
  return fromRange(text, start, start + word.length, strict);
};
const through = (anchor: Anchor, ...texts: string[]): Anchor =>
  texts.slice(1).reduce((moved, text, i) => follow(moved, texts[i]!, text), anchor);

describe('an anchor follows its characters', () => {
  const text = 'In Italy they speak';
  const italy = on(text, ' Italy', true);

  test.each([
    ['what is typed before it', 'Now |In Italy they speak', ' Italy'],
    ['what is typed behind it', 'In Italy they speak now|', ' Italy'],
    ['what is typed at its left edge', 'In x| Italy they speak', ' Italy'],
    ['what is typed at its right edge', 'In Italyx| they speak', ' Italy'],
    ['what is typed inside it', 'In Itx|aly they speak', ' Itxaly'],
    ['a deletion that cuts its end', 'In Ita|they speak', ' Ita'],
    ['a deletion that cuts its beginning', '|Italy they speak', 'Italy'],
  ])('%s', (_, typed, expected) => {
    const after = typed.replace('|', '');
    const moved = follow(italy, text, after, typed.indexOf('|'));
    expect(moved).toMatchObject({ text: expected, lost: false });
    expect(after.slice(moved.start, moved.end)).toBe(expected);
  });

  test('is lost with its last character, and returns with undo', () => {
    const gone = 'In they speak';
    const lost = follow(italy, text, gone);
    expect(lost.lost).toBe(true);
    expect(toWire(lost, gone)).toEqual([0, 0]);
    const typedOn = follow(lost, gone, `${gone} now`);
    expect(follow(typedOn, `${gone} now`, text)).toEqual(italy);
  });

  test('returns to the whole word when one undo brings back many deletions', () => {
    const steps = [text, 'In Ital they speak', 'In I they speak', 'In  they speak', 'In Spain they speak'];
    const lost = through(italy, ...steps);
    expect(lost.lost).toBe(true);
    expect(follow(lost, steps.at(-1)!, text)).toEqual(italy);
  });

  test('goes with a replaced word if strict, stays with its space if not', () => {
    const [before, after] = ['because it was', 'because he was'];
    expect(follow(on(before, ' it', true), before, after).lost).toBe(true);
    const query = follow(on(before, ' it'), before, after);
    expect(locate(query, [{ start: 0, end: 7 }, { start: 7, end: 10 }, { start: 10, end: 14 }])).toBe(1);
  });

  test('the caret tells which of equal characters was typed', () => {
    const [before, after] = ['aXX', 'aXXX'];
    const second = fromRange(before, 2, 3);
    expect(follow(second, before, after, 2)).toMatchObject({ start: 3, end: 4 });
    expect(follow(second, before, after, 4)).toMatchObject({ start: 2, end: 3 });
    expect(follow(fromRange(after, 1, 2), after, before, 1).lost).toBe(true);
  });

  test('a caret elsewhere does not mislead', () => {
    expect(difference('abc', 'abcd', 0)).toEqual({ start: 3, end: 3, growth: 1 });
    expect(difference('xabc', 'abc', 3)).toEqual({ start: 0, end: 1, growth: -1 });
  });

  test('no character is cut in two', () => {
    expect(difference('a😀b', 'a😁b')).toEqual({ start: 1, end: 3, growth: 0 });
    expect(difference('a😀b', 'a🐀b')).toEqual({ start: 1, end: 3, growth: 0 });
  });
});

describe('the wire', () => {
  test('counts code points, the page UTF-16 units', () => {
    const text = '😀é日本 it';
    const it = on(text, ' it');
    expect([it.start, toWire(it, text)]).toEqual([5, [4, 7]]);
    expect(fromWire([4, 7], text)).toEqual(it);
    expect(rangesFromWire([[0, 1], [1, 2], [2, 4], [4, 7]], text)).toEqual([
      { start: 0, end: 2 }, { start: 2, end: 3 }, { start: 3, end: 5 }, { start: 5, end: 8 },
    ]);
  });

  test('a token without characters goes by its position', () => {
    expect([toWire(0, 'text'), fromWire(0, 'text'), locate(0, [{ start: 0, end: 0 }])]).toEqual([0, 0, 0]);
    expect(locate(3, [{ start: 0, end: 0 }])).toBeNull();
  });

  test('a range means the token that covers most of it, the first of equals', () => {
    const offsets = [{ start: 0, end: 0 }, { start: 0, end: 3 }, { start: 3, end: 6 }, { start: 6, end: 9 }];
    const at = (start: number, end: number) => locate(fromRange('abcdefghi', start, end), offsets);
    expect([at(1, 4), at(2, 4), at(2, 6), at(9, 9)]).toEqual([1, 1, 2, null]);
  });

  test('the parts of one character are told apart, before and after an edit of the text', () => {
    const text = 'a 😀b';
    const offsets = [[0, 1], [1, 4], [2, 4], [2, 4], [4, 5]].map(([start, end]) => ({ start: start!, end: end! }));
    const tokens = offsets.map((_, token) => token);
    const anchors = tokens.map((token) => fromToken(text, token, offsets));
    expect(anchors.map((anchor) => locate(anchor, offsets))).toEqual(tokens);
    expect(anchors.map((anchor) => toWire(anchor, text))).toEqual([[0, 1], [1, 3], [2, 3, 1], [2, 3, 2], [3, 4]]);
    expect(anchors.map((anchor) => fromWire(toWire(anchor, text), text))).toEqual(anchors);
    const later = offsets.map(({ start, end }) => ({ start: start + 1, end: end + 1 }));
    expect(anchors.map((anchor) => locate(follow(anchor, text, `x${text}`, 1), later))).toEqual(tokens);
  });

  test('the caret stands behind the last part of the character before it', () => {
    const text = 'a😀b';
    const offsets = [[0, 1], [1, 3], [1, 3], [3, 4]].map(([start, end]) => ({ start: start!, end: end! }));
    expect([1, 3, 4].map((caret) => locate(fromCaret(text, caret), offsets))).toEqual([0, 2, 3]);
  });
});

describe('laws', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 30 });
  const anchored = fc.tuple(text, fc.nat(), fc.nat()).map(([before, a, b]) => {
    const points = [...before];
    const [i, j] = [a % (points.length + 1), b % (points.length + 1)].sort((x, y) => x - y);
    const start = points.slice(0, i).join('').length;
    return { before, anchor: fromRange(before, start, start + points.slice(i, j).join('').length) };
  });

  test('the difference rebuilds the new text', () => {
    fc.assert(
      fc.property(text, text, fc.nat(40), (before, after, caret) => {
        const { start, end, growth } = difference(before, after, caret);
        expect(before.slice(0, start)).toBe(after.slice(0, start));
        expect(before.slice(end)).toBe(after.slice(end + growth));
        expect(end).toBeGreaterThanOrEqual(start);
        expect(end + growth).toBeGreaterThanOrEqual(start);
      }),
    );
  });

  test('an anchor stays within the text and knows its characters', () => {
    fc.assert(
      fc.property(anchored, text, ({ before, anchor }, after) => {
        const moved = follow(anchor, before, after);
        if (!moved.lost) expect(after.slice(moved.start, moved.end)).toBe(moved.text);
      }),
    );
  });

  test('characters that no change touched stay: typing elsewhere and undoing it gives the same anchor', () => {
    fc.assert(
      fc.property(anchored, text, fc.boolean(), ({ before, anchor }, typed, ahead) => {
        fc.pre(anchor.start < anchor.end);
        const after = ahead ? typed + before : before + typed;
        const moved = follow(anchor, before, after, ahead ? typed.length : after.length);
        expect(moved).toMatchObject({ text: anchor.text, start: anchor.start + (ahead ? typed.length : 0), lost: false });
        expect(follow(moved, after, before, ahead ? 0 : before.length)).toEqual(anchor);
      }),
    );
  });

  test('undo always brings it back', () => {
    fc.assert(
      fc.property(anchored, fc.array(text, { minLength: 1, maxLength: 4 }), ({ before, anchor }, texts) => {
        const path = [before, ...texts];
        const away = through(anchor, ...path);
        const back = path.slice(0, -1).reduceRight((moved, earlier, i) => follow(moved, path[i + 1]!, earlier), away);
        expect(back.lost).toBe(false);
      }),
    );
  });

  test('code points and units are inverse', () => {
    fc.assert(
      fc.property(anchored, ({ before, anchor }) => {
        expect(fromWire(toWire(anchor, before), before)).toEqual(anchor);
      }),
    );
  });
});

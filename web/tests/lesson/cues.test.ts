import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { minutesAndSeconds, sentenceAt } from '../../src/lesson/clock';
import { settingsAt, stopsOf, withCues } from '../../src/lesson/cues';
import { challengedBy, stepsOf, type Lesson } from '../../src/lesson/format';

const lesson = JSON.parse(readFileSync(new URL('22.json', import.meta.url), 'utf8')) as Lesson;

describe('settings at a sentence', () => {
  test('are the defaults before the first, and do not know later cues', () => {
    expect(settingsAt(lesson, -1)['cards']).toEqual(expect.not.objectContaining({ reveal: true }));
    expect(settingsAt(lesson, 1)['cards']).not.toHaveProperty('reveal');
    expect(settingsAt(lesson, 4)['italy']).not.toHaveProperty('change');
  });

  test('are the defaults and all cues up to it, the last word counting', () => {
    expect(settingsAt(lesson, 2)['cards']).toMatchObject({ head: '13.8', reveal: true });
    expect(settingsAt(lesson, 5)['italy']).toMatchObject({ head: '23.4', change: 'mute' });
    expect(settingsAt(lesson, 6)['italy']).toMatchObject({ change: 'aim' });
    expect(settingsAt(lesson, 6)['cards']).toMatchObject({ reveal: true });
  });

  test('come out the same step by step, whatever order the file has', () => {
    const shuffled = { ...lesson, cues: [...lesson.cues].reverse() };
    let settings = settingsAt(shuffled, -1);
    for (let n = 0; n <= 6; n++) settings = withCues(settings, shuffled, n - 1, n);
    expect(settings).toEqual(settingsAt(lesson, 6));
    expect(withCues(settingsAt(shuffled, -1), shuffled, -1, 6)).toEqual(settings);
  });

  test('leave the lesson as it was', () => {
    const before = JSON.stringify(lesson);
    settingsAt(lesson, 6);
    expect(JSON.stringify(lesson)).toBe(before);
  });
});

test('the presenter stops at every step and at every cue within it', () => {
  expect(stopsOf(lesson).map(({ step, sentence }) => [step.id, sentence])).toEqual([
    ['lookup', 0], ['lookup', 2], ['flows', 4], ['flows', 5], ['flows', 6], ['formulas', 6], ['ask', 6], ['papers', 6],
  ]);
});

test('a challenge belongs to the instrument above it', () => {
  const { blocks } = stepsOf(lesson)[0]!;
  expect(challengedBy(blocks, blocks.findIndex(({ kind }) => kind === 'challenge'))).toBe('cards');
  expect(challengedBy(blocks, 0)).toBeNull();
});

test('the clock finds the sentence that has begun last', () => {
  const sentences: [number, number][] = [[0.5, 2], [2.2, 4], [4, 5]];
  const at = [0, 0.5, 2, 2.19, 2.2, 3.99, 4, 99].map((time) => sentenceAt(sentences, time));
  expect(at).toEqual([-1, 0, 0, 0, 1, 1, 2, 2]);
  expect(sentenceAt([], 1)).toBe(-1);
});

test('times are written in minutes and seconds', () => {
  expect([0, 59.9, 60, 754.2, -1].map(minutesAndSeconds)).toEqual(['0:00', '0:59', '1:00', '12:34', '0:00']);
});

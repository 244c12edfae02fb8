import { describe, expect, test } from 'vitest';
import { judge, projected, scores, stepped, times, within, withRow, type ToySettings } from '../src/lesson/instruments/toy';

const START: ToySettings = {
  words: ['cat', 'drank', 'it'],
  points: [[1.5, 0.5], [0.5, 1.5], [-0.8, 1]], // prettier-ignore
  w_q: [[1, 0], [0, 1]], // prettier-ignore
  w_k: [[1, 0], [0, 1]], // prettier-ignore
  tied: false,
};

test('a row of the matrix is where a unit of its dimension goes', () => {
  expect(times([1, 0], [[2, 3], [4, 5]])).toEqual([2, 3]); // prettier-ignore
  expect(times([2, -1], [[2, 3], [4, 5]])).toEqual([0, 1]); // prettier-ignore
});

test('scores are q · k, every query with every key', () => {
  const s = scores({ ...START, w_q: [[0, 1], [1, 0]] }); // prettier-ignore
  expect(projected({ ...START, w_q: [[0, 1], [1, 0]] }).q[2]).toEqual([1, -0.8]); // prettier-ignore
  expect(s[2]![0]).toBeCloseTo(1.5 - 0.4);
});

describe('the challenge', () => {
  test('is not met at the start, where the two scores are equal', () => {
    expect(judge(START)).toMatchObject({ lead: 0, passed: false });
  });

  test('can be met', () => {
    const w_q = [[0, -3], [3, 0]]; // prettier-ignore
    const verdict = judge({ ...START, w_q })!;
    expect(verdict).toMatchObject({ largest: true, passed: true });
    expect(verdict.lead).toBeCloseTo(11.4);
  });

  test('needs both: the largest of its row alone does not do', () => {
    const verdict = judge({ ...START, w_q: [[0, -0.5], [0.5, 0]] })!; // prettier-ignore
    expect(verdict.largest).toBe(true);
    expect(verdict.lead).toBeCloseTo(1.9);
    expect(verdict.passed).toBe(false);
  });

  test('cannot be met with the tie on, whatever is drawn', () => {
    for (let round = 0; round < 200; round++) {
      const draw = () => 6 * Math.random() - 3;
      const tied = { ...START, tied: true, w_q: [[draw(), draw()], [draw(), draw()]] }; // prettier-ignore
      const s = scores(tied);
      expect(s[2]![0]).toBeCloseTo(s[0]![2]!, 12);
      expect(judge(tied)).toMatchObject({ lead: 0, passed: false });
    }
  });

  test('says nothing of words that are not there', () => {
    expect(judge({ ...START, words: ['a', 'b', 'c'] })).toBeNull();
  });
});

test('an arrow stays within reach, by hand and by keys', () => {
  expect(within(9, -9)).toEqual([3, -3]);
  expect(stepped([0, 0], 'ArrowUp', false)).toEqual([0, 0.1]);
  expect(stepped([0, 0], 'ArrowLeft', true)).toEqual([-0.5, 0]);
  expect(stepped([3, 0], 'ArrowRight', true)).toEqual([3, 0]);
  expect(stepped([0, 0], 'Enter', false)).toBeNull();
  expect(withRow([[1, 0], [0, 1]], 1, [2, 2])).toEqual([[1, 0], [2, 2]]); // prettier-ignore
});

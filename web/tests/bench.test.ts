import { describe, expect, it } from 'vitest';
import { COLUMNS, columnsOf, scaleOf, shownKeys } from '../src/core/bench';

describe('the keys shown', () => {
  it('are all of them up to 24', () => {
    const weights = new Float64Array(30).fill(1 / 24);
    const shown = shownKeys(weights, { first: 0, last: 24 }, 23, []);
    expect(shown.keys).toHaveLength(24);
    expect(shown.others).toBe(0);
  });

  it('are the strongest 12, the first, the query and the one of interest above that, in the order of the text', () => {
    const weights = Float64Array.from({ length: 500 }, (_, j) => (j >= 100 && j < 112 ? 0.08 : 0.04 / 488));
    const { keys, others, othersWeight } = shownKeys(weights, { first: 0, last: 500 }, 499, [250, null]);
    expect(keys).toEqual([0, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 250, 499]);
    expect(others).toBe(485);
    expect(othersWeight).toBeCloseTo((485 * 0.04) / 488, 12);
  });

  it('are also those whose weight an edit changed, but none of these joins under a hand that drags', () => {
    const before = Float64Array.from({ length: 100 }, (_, j) => (j === 40 ? 0.3 : j < 12 ? 0.05 : 0.1 / 87));
    const weights = before.map((weight, j) => (j === 40 ? 0 : weight / 0.7));
    const visible = { first: 0, last: 100 };
    expect(shownKeys(weights, visible, 99, [], [], before).keys).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 40, 99]);
    expect(shownKeys(weights, visible, 99, []).keys).not.toContain(40);
    expect(shownKeys(weights, visible, 99, [], [0, 1, 2], before).keys).toEqual([0, 1, 2, 99]);
  });

  it('begin with the first key of a sliding window', () => {
    const { keys } = shownKeys(new Float64Array(50).fill(1 / 32), { first: 18, last: 50 }, 49, []);
    expect(keys[0]).toBe(18);
  });

  it('weigh 1 in all', () => {
    const weights = Float64Array.from({ length: 100 }, (_, j) => (j + 1) / 5050);
    const { keys, othersWeight } = shownKeys(weights, { first: 0, last: 100 }, 99, [3]);
    expect(keys.reduce((sum, key) => sum + weights[key]!, othersWeight)).toBeCloseTo(1, 12);
  });
});

describe('scales', () => {
  it('end at the 99th percentile of the sizes', () => {
    expect(scaleOf([Float64Array.from({ length: 50 }, (_, i) => i + 1), Float64Array.from({ length: 50 }, (_, i) => -51 - i)])).toBe(99);
  });

  it('are never 0', () => {
    expect(scaleOf([new Float32Array(4)])).toBe(1);
    expect(scaleOf([])).toBe(1);
    expect(scaleOf([Float64Array.from({ length: 200 }, (_, i) => (i === 7 ? 3 : 0))])).toBe(3);
  });
});

it('the columns stand side by side and fill the width', () => {
  const columns = columnsOf(816);
  let x = 0;
  for (const column of COLUMNS) {
    expect(columns[column].x).toBeCloseTo(x, 9);
    x += columns[column].width;
  }
  expect(x).toBeCloseTo(816, 9);
  expect(columns.key.width).toBe(columns.value.width);
});

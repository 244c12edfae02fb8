import { expect, test } from 'vitest';
import { atX, atY, lowest, nearest, ticksFrom, walk } from '../src/lesson/instruments/spread';

/** Three layers of two heads. */
const SPREAD = { values: [0.1, -0.1, 0.5, 0.04, 0.3, 0.2], n_head: 2 };

test('the scale holds every dot and 1', () => {
  expect(lowest(SPREAD.values)).toBe(-0.25);
  expect(lowest([-0.6, 1])).toBe(-0.75);
  expect(lowest([-0.9])).toBe(-1);
  expect(ticksFrom(-0.25)).toEqual([-0.25, 0, 0.25, 0.5, 0.75, 1]);
});

test('up and down go through a layer by value, and stop at its ends', () => {
  expect(walk(SPREAD, 1, 'ArrowUp')).toBe(0);
  expect(walk(SPREAD, 0, 'ArrowUp')).toBe(0);
  expect(walk(SPREAD, 0, 'ArrowDown')).toBe(1);
});

test('left and right go to the nearest value of the next layer', () => {
  expect(walk(SPREAD, 2, 'ArrowRight')).toBe(4);
  expect(walk(SPREAD, 3, 'ArrowRight')).toBe(5);
  expect(walk(SPREAD, 3, 'ArrowLeft')).toBe(0);
  expect(walk(SPREAD, 0, 'ArrowLeft')).toBe(0);
  expect(walk(SPREAD, 4, 'ArrowRight')).toBe(4);
  expect(walk(SPREAD, 4, 'a')).toBeNull();
});

test('a click takes the nearest dot', () => {
  SPREAD.values.forEach((value, head) => {
    expect(nearest(SPREAD, atX(Math.floor(head / 2), 3) + 3, atY(value, -0.25) - 2)).toBe(head);
  });
});

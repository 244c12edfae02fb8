import { expect, test } from 'vitest';
import { placeLabels, type Wanted } from '../src/draw/labels';

const picture = { x: 0, y: 0, width: 200, height: 100 };
const measure = (text: string) => 7 * text.length;
const want = (id: string, x: number, y: number, must = false): Wanted => ({ id, text: id, x, y, gap: 5, must });
const apart = (a: { x: number; y: number; width: number; height: number }, b: typeof a) =>
  a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;

test('labels of crowded points do not lie on one another; those without a place are left out', () => {
  const wanted = Array.from({ length: 14 }, (_, i) => want(`token${i}`, 90 + i, 50 + (i % 3)));
  const placed = placeLabels(wanted, measure, 14, picture, [], new Map());
  expect(placed.length).toBeGreaterThan(3);
  expect(placed.length).toBeLessThan(14);
  placed.forEach((a, i) => placed.slice(i + 1).forEach((b) => expect(apart(a.box, b.box)).toBe(true)));
});

test('a label that must be there is, inside the picture', () => {
  const [placed] = placeLabels([want('a very long label indeed, too long', 195, 3, true)], measure, 14, picture, [], new Map());
  expect(placed!.box.x).toBeGreaterThanOrEqual(0);
  expect(placed!.box.y).toBeGreaterThanOrEqual(0);
});

test('side by side, labels keep apart enough not to read as one word', () => {
  const placed = placeLabels([want('they', 60, 50, true), want('In', 98, 50), want('was', 75, 58)], measure, 14, picture, [], new Map());
  expect(placed).toHaveLength(3);
  const wider = ({ x, y, width, height }: (typeof placed)[0]['box']) => ({ x: x - 4.9, y, width: width + 9.8, height });
  placed.forEach((a, i) => placed.slice(i + 1).forEach((b) => expect(apart(wider(a.box), b.box)).toBe(true)));
});

test('a label that may be left out covers no obstacle where it is to keep clear, one that must be there does', () => {
  const everywhere = [{ x: 0, y: 0, width: 200, height: 100 }];
  const placed = (must: boolean, clear: boolean) => placeLabels([want('q', 100, 50, must)], measure, 14, picture, everywhere, new Map(), clear).length;
  expect([placed(false, true), placed(true, true), placed(false, false)]).toEqual([0, 1, 1]);
});

test('a label stays on its side while it can', () => {
  const sides = new Map([['q', 5]]);
  expect(placeLabels([want('q', 100, 50)], measure, 14, picture, [], sides)[0]!.side).toBe(5);
});

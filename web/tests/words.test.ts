import { expect, test, vi } from 'vitest';
import { fontOf } from '../src/draw/fonts';
import { write } from '../src/draw/words';
import { Measuring } from './measuring';

vi.stubGlobal('OffscreenCanvas', Measuring);

const INK = { colour: '#000000', edge: '#ffffff' };

/** A canvas of this sharpness that notes which pictures are copied where. */
function sheet(scale: number) {
  const copied: { word: Measuring; at: number[] }[] = [];
  const ctx = {
    getTransform: () => ({ a: scale }),
    drawImage: (word: Measuring, ...at: number[]) => copied.push({ word, at }),
  };
  return { ctx: ctx as unknown as CanvasRenderingContext2D, copied };
}

test('a word is drawn once for each sharpness and ink, and copied from then on', () => {
  const [plain, sharp] = [sheet(1), sheet(2)];
  const font = fontOf(12, 600);
  write(plain.ctx, font, 'cat', 10, 20, INK);
  write(plain.ctx, font, 'cat', 90, 20, INK);
  write(plain.ctx, font, 'cat', 10, 20, { ...INK, edge: '#000000' });
  write(sharp.ctx, font, 'cat', 10, 20, INK);
  const [one, again, inverse] = plain.copied.map(({ word }) => word);
  expect(again).toBe(one);
  expect(inverse).not.toBe(one);
  const large = sharp.copied[0]!.word;
  expect([large.word, large.width, one!.width]).toEqual(['cat', 60, 30]);
});

test('it stands on whole pixels of the screen, as large as it was drawn', () => {
  const { ctx, copied } = sheet(1.5);
  write(ctx, fontOf(10), 'they', 10.4, 20.3, INK);
  const { word, at } = copied[0]!;
  const [x, y, width, height] = at as [number, number, number, number];
  for (const value of [x, y, width, height]) expect(value * 1.5).toBeCloseTo(Math.round(value * 1.5), 9);
  expect([width * 1.5, height * 1.5]).toEqual([word.width, word.height]);
  expect(Math.abs(x - (10.4 - 3))).toBeLessThan(0.5);
});

import { expect, test, vi } from 'vitest';
import { fontOf, forgetFont, setFont, widthOf } from '../src/draw/fonts';
import { Measuring } from './measuring';

vi.stubGlobal('OffscreenCanvas', Measuring);

/** A canvas that counts how often its font is set: each time costs a layout. */
function counting() {
  const set: string[] = [];
  const ctx = Object.defineProperty({}, 'font', { set: (font: string) => set.push(font) }) as CanvasRenderingContext2D;
  return { ctx, set };
}

test('a font is set once, until another is wanted or the canvas has been resized', () => {
  const { ctx, set } = counting();
  const [small, bold] = [fontOf(10), fontOf(12, 600)];
  for (const font of [small, small, bold, bold]) setFont(ctx, font);
  expect(set).toEqual([small, bold]);
  forgetFont(ctx);
  setFont(ctx, bold);
  expect(set).toEqual([small, bold, bold]);
});

test('two canvases have a font each', () => {
  const [one, other] = [counting(), counting()];
  for (const { ctx } of [one, other, one]) setFont(ctx, fontOf(10));
  expect([one.set.length, other.set.length]).toEqual([1, 1]);
});

test('a text is measured once in each font', () => {
  expect([widthOf(fontOf(10), 'cat'), widthOf(fontOf(10), 'cat'), widthOf(fontOf(12, 600), 'cat'), widthOf(fontOf(10), 'cats')]).toEqual([24, 24, 24, 32]);
  expect(Measuring.measured).toEqual(['400 10px cat', '600 12px cat', '400 10px cats']);
});

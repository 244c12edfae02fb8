import { expect, test, vi } from 'vitest';
import { drawArcs, heightOf, type Arc } from '../src/draw/arcs';
import type { Palette } from '../src/theme.svelte';
import { Measuring } from './measuring';

const palette = { q: 'q', k: 'k', kText: 'kText', soft: 'soft', paper: 'paper' } as Palette;
const side = { y: 60, room: 60, away: -1 as const };

vi.stubGlobal('OffscreenCanvas', Measuring);

/** A canvas that notes what is drawn on it. */
function recorder() {
  const drawn: string[] = [];
  let dashed = false;
  const ctx = {
    setLineDash: (dash: number[]) => (dashed = dash.length > 0),
    createLinearGradient: () => ({ addColorStop: () => undefined }),
    beginPath: () => undefined,
    moveTo: (x: number) => drawn.push(`${dashed ? 'dashed' : 'solid'} from ${x}`),
    bezierCurveTo: () => undefined,
    stroke: () => undefined,
    getTransform: () => ({ a: 2 }),
    drawImage: ({ word }: Measuring) => drawn.push(word),
  };
  return { ctx: ctx as unknown as CanvasRenderingContext2D, drawn };
}

const arc = (key: number, weight: number, before: number | null = null): Arc => ({ query: 400, key, weight, before });

test('weak arcs first, then strong ones, then the figures of the strong ones', () => {
  const { ctx, drawn } = recorder();
  drawArcs(ctx, [arc(100, 0.56), arc(10, 0.05), arc(200, 0.001)], side, palette);
  expect(drawn).toEqual(['solid from 400', 'solid from 400', '0.56']);
});

test('what was before the edits is dashed, also where nothing is left', () => {
  const { ctx, drawn } = recorder();
  drawArcs(ctx, [arc(100, 0, 0.95)], side, palette);
  expect(drawn).toEqual(['dashed from 400']);
});

test('figures never lie on one another', () => {
  const { ctx, drawn } = recorder();
  drawArcs(ctx, [arc(100, 0.4), arc(101, 0.39)], side, palette);
  expect(drawn.filter((text) => text.startsWith('0.'))).toEqual(['0.40']);
});

test('arcs and their figures stay within their room', () => {
  expect(heightOf(0, 5000, side)).toBe(45);
  expect(heightOf(0, 40, side)).toBeLessThan(heightOf(0, 80, side));
});

/** Query heads over the K/V heads they share. */
import type { Palette } from '../theme.svelte';

const GAP = 2;

/** One box for each query head, in Query's hue, over one box for each K/V head, half Key and half Value. */
export function paintHeads(ctx: CanvasRenderingContext2D, width: number, height: number, nHead: number, nKvHead: number, palette: Palette): void {
  const half = height / 2 - 1;
  row(ctx, width, nHead, 0, half, palette.q);
  row(ctx, width, nKvHead, half + 2, half / 2, palette.k);
  row(ctx, width, nKvHead, half + 2 + half / 2, half / 2, palette.v);
}

function row(ctx: CanvasRenderingContext2D, width: number, count: number, y: number, height: number, hue: string): void {
  const step = width / count;
  const gap = Math.min(GAP, step / 4);
  ctx.fillStyle = hue;
  for (let i = 0; i < count; i++) ctx.fillRect(i * step + gap / 2, y, step - gap, height);
}

/** Vectors as strips of signed bars, cell under cell, and weights as bars: the drawn part of the bench's table. */
import { rowAt, type Column, type Columns, type Scales, type ShownKeys, type Span } from '../core/bench';
import type { Floats, Row } from '../core/mechanism';
import { products } from '../core/why';
import type { Palette } from '../theme.svelte';

/** Where the strips of the table stand, in which order and on which scales. */
export interface Grid {
  columns: Columns;
  /** Heights: of the head, and of each row under it: q, the keys, perhaps the others, z. */
  head: number;
  row: number;
  /** In which order the components of q, k and q∘k stand. */
  order: ArrayLike<number>;
  scales: Scales;
}

/** What of the table stays as it is while only the query moves. */
export interface StillScene {
  grid: Grid;
  keys: number[];
  k: Floats;
  kBefore: Floats;
  v: Floats;
  vBefore: Floats;
}

export interface MovingScene {
  grid: Grid;
  shown: ShownKeys;
  row: Row;
  before: Row;
  weights: Float64Array;
  weightsBefore: Float64Array;
}

export interface Strip {
  x: number;
  y: number;
  width: number;
  height: number;
  scale: number;
  order: ArrayLike<number>;
}

/** Room beside a strip, so that neighbours stay apart. */
export const PAD = 6;

/** Signed bars around the strip's middle. A bar that is cut at the scale has a gap near its tip. */
export function paintStrip(ctx: CanvasRenderingContext2D, values: Floats, strip: Strip, above: string, below: string): void {
  const { x, y, width, height, scale, order } = strip;
  const step = width / order.length;
  const bar = Math.max(0.6, step * 0.72);
  const middle = y + height / 2;
  const half = height / 2;
  ctx.fillStyle = above;
  ctx.globalAlpha = 0.5;
  ctx.fillRect(x, middle - 0.25, width, 0.5);
  ctx.globalAlpha = 1;
  const clipped: [x: number, y: number][] = [];
  // One path for each sign: sixty rectangles of their own take several times as long.
  for (const sign of [1, -1]) {
    ctx.beginPath();
    for (let i = 0; i < order.length; i++) {
      const share = (sign * values[order[i]!]!) / scale;
      const size = Math.min(1, share) * half;
      if (size < 0.3) continue;
      ctx.rect(x + i * step, sign < 0 ? middle : middle - size, bar, size);
      if (share > 1) clipped.push([x + i * step - 0.5, sign < 0 ? y + height - 4 : y + 3]);
    }
    ctx.fillStyle = sign < 0 ? below : above;
    ctx.fill();
  }
  for (const [left, top] of clipped) ctx.clearRect(left, top, step + 0.5, 1.2);
}

/** Where the bars ended before the edit: a broken line over those that moved. */
function paintGhost(ctx: CanvasRenderingContext2D, before: Floats, now: Floats, strip: Strip, colour: string): void {
  const { x, y, width, height, scale, order } = strip;
  const step = width / order.length;
  ctx.fillStyle = colour;
  for (let i = 0; i < order.length; i++) {
    const [old, value] = [before[order[i]!]!, now[order[i]!]!];
    if (Math.abs(old - value) < 0.01 * scale) continue;
    const share = Math.max(-1, Math.min(1, old / scale));
    ctx.fillRect(x + i * step, y + (height / 2) * (1 - share) - 0.5, Math.max(1, step * 0.72), 1);
  }
}

/** A weight's bar on its track; dashed, where the weight was before the edit. */
export function paintWeight(ctx: CanvasRenderingContext2D, weight: number, before: number | null, box: Omit<Strip, 'scale' | 'order'>, palette: Palette): void {
  const { x, y, width, height } = box;
  ctx.fillStyle = palette.track;
  ctx.beginPath();
  ctx.roundRect(x, y, width, height, 2);
  ctx.fill();
  ctx.fillStyle = palette.ink;
  if (weight > 0) ctx.fillRect(x, y, Math.max(1, weight * width), height);
  if (before === null || Math.abs(before - weight) < 0.0005) return;
  ctx.strokeStyle = before > weight ? palette.ink : palette.paper;
  ctx.lineWidth = 1;
  ctx.setLineDash([3, 2]);
  if (before > weight) ctx.strokeRect(x + 0.5, y + 0.5, before * width - 1, height - 1);
  else {
    ctx.beginPath();
    ctx.moveTo(x + before * width + 0.5, y);
    ctx.lineTo(x + before * width + 0.5, y + height);
    ctx.stroke();
  }
  ctx.setLineDash([]);
}

/** The strips of the keys and the values. */
export function paintStill(ctx: CanvasRenderingContext2D, { grid, keys, k, kBefore, v, vBefore }: StillScene, palette: Palette): void {
  const { columns, order, scales } = grid;
  const d = order.length;
  const places = plain(d);
  keys.forEach((key, i) => {
    const line = i + 1;
    paintBoth(ctx, rowAt(k, key, d), k === kBefore ? null : rowAt(kBefore, key, d), stripAt(grid, columns.key, line, scales.k, order), palette.k, palette);
    paintBoth(ctx, rowAt(v, key, d), v === vBefore ? null : rowAt(vBefore, key, d), stripAt(grid, columns.value, line, scales.v, places), palette.v, palette);
  });
}

/** What follows the query: its own strip, the products, the weights, the blend. */
export function paintMoving(ctx: CanvasRenderingContext2D, scene: MovingScene, palette: Palette): void {
  const { grid, shown, row, before } = scene;
  const { columns, order, scales } = grid;
  const d = order.length;
  paintBoth(ctx, row.q, row === before ? null : before.q, stripAt(grid, columns.key, 0, scales.q, order), palette.q, palette);
  shown.keys.forEach((key, i) => {
    const [strip, agree] = [stripAt(grid, columns.product, i + 1, scales.product, order), products(row.q, rowAt(row.k, key, d))];
    paintStrip(ctx, agree, strip, palette.ink, palette.against);
    if (row !== before) paintGhost(ctx, products(before.q, rowAt(before.k, key, d)), agree, strip, palette.soft);
    paintWeight(ctx, scene.weights[key]!, scene.weightsBefore[key]!, weightBox(grid, i + 1), palette);
  });
  const last = shown.keys.length + 1 + (shown.others > 0 ? 1 : 0);
  if (shown.others > 0) paintWeight(ctx, shown.othersWeight, null, weightBox(grid, last - 1), palette);
  paintBoth(ctx, row.z, row === before ? null : before.z, stripAt(grid, columns.value, last, scales.z, plain(d)), palette.v, palette);
}

function stripAt(grid: Grid, span: Span, line: number, scale: number, order: ArrayLike<number>): Strip {
  return { x: span.x + PAD, y: grid.head + line * grid.row + 2, width: span.width - 2 * PAD, height: grid.row - 4, scale, order };
}

function paintBoth(ctx: CanvasRenderingContext2D, now: Floats, old: Floats | null, strip: Strip, colour: string, palette: Palette): void {
  paintStrip(ctx, now, strip, colour, colour);
  if (old) paintGhost(ctx, old, now, strip, palette.soft);
}

function plain(d: number): number[] {
  return Array.from({ length: d }, (_, i) => i);
}

/** What of the table's strips is at a point: which strip of which line, and which component. */
export function componentAt({ columns, head, row, order }: Grid, x: number, y: number): { column: Column; line: number; component: number } | null {
  const line = Math.floor((y - head) / row);
  for (const column of ['key', 'product', 'value'] as const) {
    const share = (x - columns[column].x - PAD) / (columns[column].width - 2 * PAD);
    const place = Math.floor(share * order.length);
    if (line >= 0 && place >= 0 && place < order.length) return { column, line, component: column === 'value' ? place : order[place]! };
  }
  return null;
}

/** Half of the weight's column is its bar; the figure stands beside it. */
function weightBox({ columns: { weight }, head, row }: Grid, line: number): Omit<Strip, 'scale' | 'order'> {
  const height = 14;
  return { x: weight.x + 2 * PAD, y: head + line * row + (row - height) / 2, width: weight.width - 66, height };
}

/** Vectors as strips of signed bars, cell under cell, and weights as bars: the drawn part of the bench's table. */
import { rowAt, type Column, type Columns, type Scales, type ShownKeys, type Span } from '../core/bench';
import type { Floats, Row } from '../core/mechanism';
import { products } from '../core/why';
import type { Palette } from '../theme.svelte';

/** Where the rows of the table stand: a head row, q, the keys, perhaps the others, z. */
export interface Rows {
  head: number;
  row: number;
}

export interface BenchScene {
  columns: Columns;
  rows: Rows;
  shown: ShownKeys;
  row: Row;
  before: Row;
  v: Floats;
  vBefore: Floats;
  weights: Float64Array;
  weightsBefore: Float64Array;
  /** In which order the components of q, k and q∘k stand. */
  order: ArrayLike<number>;
  scales: Scales;
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
  for (let i = 0; i < order.length; i++) {
    const share = values[order[i]!]! / scale;
    const size = Math.min(1, Math.abs(share)) * half;
    if (size < 0.3) continue;
    ctx.fillStyle = share < 0 ? below : above;
    ctx.fillRect(x + i * step, share < 0 ? middle : middle - size, bar, size);
    if (Math.abs(share) > 1) ctx.clearRect(x + i * step - 0.5, share < 0 ? y + height - 4 : y + 3, step + 0.5, 1.2);
  }
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

/** All strips and weight bars of the table. */
export function paintBench(ctx: CanvasRenderingContext2D, scene: BenchScene, palette: Palette): void {
  const { columns, rows, shown, row, before, scales, order } = scene;
  const d = row.q.length;
  const plain = Array.from(row.q, (_, i) => i);
  const place = (span: Span, line: number, scale: number, dims: ArrayLike<number>): Strip => {
    return { x: span.x + PAD, y: rows.head + line * rows.row + 2, width: span.width - 2 * PAD, height: rows.row - 4, scale, order: dims };
  };
  const both = (now: Floats, old: Floats, strip: Strip, colour: string) => {
    paintStrip(ctx, now, strip, colour, colour);
    if (row !== before) paintGhost(ctx, old, now, strip, palette.soft);
  };
  both(row.q, before.q, place(columns.key, 0, scales.q, order), palette.q);
  shown.keys.forEach((key, i) => {
    const k = rowAt(row.k, key, d);
    both(k, rowAt(before.k, key, d), place(columns.key, i + 1, scales.k, order), palette.k);
    paintStrip(ctx, products(row.q, k), place(columns.product, i + 1, scales.product, order), palette.ink, palette.against);
    both(rowAt(scene.v, key, d), rowAt(scene.vBefore, key, d), place(columns.value, i + 1, scales.v, plain), palette.v);
    paintWeight(ctx, scene.weights[key]!, scene.weightsBefore[key]!, weightBox(columns.weight, rows, i + 1), palette);
  });
  const last = shown.keys.length + 1 + (shown.others > 0 ? 1 : 0);
  if (shown.others > 0) paintWeight(ctx, shown.othersWeight, null, weightBox(columns.weight, rows, last - 1), palette);
  both(row.z, before.z, place(columns.value, last, scales.z, plain), palette.v);
}

/** What of the table's strips is at a point: which strip of which line, and which component. */
export function componentAt({ columns, rows, order }: BenchScene, x: number, y: number): { column: Column; line: number; component: number } | null {
  const line = Math.floor((y - rows.head) / rows.row);
  for (const column of ['key', 'product', 'value'] as const) {
    const share = (x - columns[column].x - PAD) / (columns[column].width - 2 * PAD);
    const place = Math.floor(share * order.length);
    if (line >= 0 && place >= 0 && place < order.length) return { column, line, component: column === 'value' ? place : order[place]! };
  }
  return null;
}

/** Half of the weight's column is its bar; the figure stands beside it. */
export function weightBox(span: Span, rows: Rows, line: number): Omit<Strip, 'scale' | 'order'> {
  const height = 14;
  return { x: span.x + 2 * PAD, y: rows.head + line * rows.row + (rows.row - height) / 2, width: span.width - 66, height };
}

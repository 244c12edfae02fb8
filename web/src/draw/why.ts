/** Why a score: each component of q∘k as a bar, in the given order, and the line of what they have come to. */
import type { Floats } from '../core/mechanism';
import type { Palette } from '../theme.svelte';
import { fontOf, setFont } from './fonts';

export interface Sum {
  terms: Floats;
  order: ArrayLike<number>;
  running: Float64Array;
  /** What the sums came to before the edits, in the same order; null where nothing was changed. */
  before: Float64Array | null;
}

const LEFT = 36;
const TOP = 12;
const BOTTOM = 14;
const NAMED = 6;
const FIGURE = fontOf(10);

export function paintSum(ctx: CanvasRenderingContext2D, { terms, order, running, before }: Sum, width: number, height: number, palette: Palette): void {
  const most = Math.max(0, ...running, ...terms, ...(before ?? []));
  const least = Math.min(0, ...running, ...terms, ...(before ?? []));
  const yOf = (value: number) => TOP + ((most - value) / (most - least || 1)) * (height - TOP - BOTTOM);
  const step = (width - LEFT - 44) / order.length;
  const xOf = (i: number) => LEFT + i * step;
  ctx.strokeStyle = palette.line;
  ctx.beginPath();
  ctx.moveTo(LEFT, yOf(0));
  ctx.lineTo(width - 44, yOf(0));
  ctx.stroke();
  for (let i = 0; i < order.length; i++) {
    const term = terms[order[i]!]!;
    ctx.fillStyle = term < 0 ? palette.against : palette.ink;
    ctx.fillRect(xOf(i), Math.min(yOf(0), yOf(term)), Math.max(0.6, step * 0.72), Math.abs(yOf(term) - yOf(0)));
  }
  if (before) {
    ctx.setLineDash([3, 3]);
    paintLine(ctx, before, xOf, yOf, palette);
    ctx.setLineDash([]);
  }
  paintLine(ctx, running, xOf, yOf, palette);
  setFont(ctx, FIGURE);
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'right';
  for (const value of new Set([most, 0, least])) {
    if (value !== 0 && Math.abs(yOf(value) - yOf(0)) < 11) continue;
    ctx.fillText(value.toFixed(value === 0 ? 0 : 1).replace('-', '−'), LEFT - 5, yOf(value));
  }
  const total = running[running.length - 1] ?? 0;
  ctx.textAlign = 'left';
  ctx.fillStyle = palette.ink;
  ctx.fillText(total.toFixed(2).replace('-', '−'), width - 41, yOf(total));
  paintNames(ctx, terms, order, xOf, yOf, step, palette);
}

function paintLine(
  ctx: CanvasRenderingContext2D,
  running: Float64Array,
  xOf: (i: number) => number,
  yOf: (value: number) => number,
  palette: Palette,
): void {
  ctx.strokeStyle = palette.soft;
  ctx.fillStyle = palette.soft;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  ctx.moveTo(xOf(0), yOf(0));
  running.forEach((sum, i) => {
    ctx.lineTo(xOf(i), yOf(sum));
    ctx.lineTo(xOf(i + 1), yOf(sum));
  });
  ctx.stroke();
  ctx.lineWidth = 1;
}

/** The components with the largest terms by their index, under the picture, where two do not overlap. */
function paintNames(
  ctx: CanvasRenderingContext2D,
  terms: Floats,
  order: ArrayLike<number>,
  xOf: (i: number) => number,
  yOf: (value: number) => number,
  step: number,
  palette: Palette,
): void {
  const places = Array.from({ length: order.length }, (_, i) => i);
  const largest = places.sort((a, b) => Math.abs(terms[order[b]!]!) - Math.abs(terms[order[a]!]!)).slice(0, NAMED);
  const taken: number[] = [];
  ctx.textAlign = 'center';
  ctx.fillStyle = palette.soft;
  for (const i of largest) {
    const x = xOf(i) + step / 2;
    if (taken.some((other) => Math.abs(other - x) < 16)) continue;
    taken.push(x);
    ctx.fillText(String(order[i]), x, terms[order[i]!]! < 0 ? yOf(terms[order[i]!]!) + 8 : yOf(0) + 8);
  }
}

/** A score at every distance between query and key, the actual one marked. */
export function paintDistances(ctx: CanvasRenderingContext2D, scores: Float64Array, actual: number, width: number, height: number, palette: Palette): void {
  const most = Math.max(...scores);
  const least = Math.min(...scores);
  const right = width - 44;
  const xOf = (distance: number) => LEFT + (distance / Math.max(1, scores.length - 1)) * (right - LEFT);
  const yOf = (score: number) => TOP + ((most - score) / (most - least || 1)) * (height - TOP - BOTTOM);
  ctx.strokeStyle = palette.line;
  ctx.strokeRect(LEFT + 0.5, TOP + 0.5, right - LEFT, height - TOP - BOTTOM);
  ctx.strokeStyle = palette.soft;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  scores.forEach((score, distance) => ctx.lineTo(xOf(distance), yOf(score)));
  ctx.stroke();
  ctx.fillStyle = palette.soft;
  setFont(ctx, FIGURE);
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'right';
  for (const value of [most, least]) ctx.fillText(value.toFixed(1).replace('-', '−'), LEFT - 5, yOf(value));
  ctx.textAlign = 'center';
  for (const distance of [0, scores.length - 1]) if (Math.abs(xOf(distance) - xOf(actual)) > 20) ctx.fillText(String(distance), xOf(distance), height - 6);
  ctx.fillStyle = palette.ink;
  ctx.beginPath();
  ctx.arc(xOf(actual), yOf(scores[actual]!), 3.5, 0, 2 * Math.PI);
  ctx.fill();
  ctx.fillText(String(actual), xOf(actual), height - 6);
}

/** Arcs between tokens of one line: from a token that looks, in the query's hue, to the one it looks at, in the key's. */
import type { Palette } from '../theme.svelte';
import { fontOf, widthOf } from './fonts';
import { write } from './words';

export interface Arc {
  /** The middle of the token that looks and of the one it looks at. */
  query: number;
  key: number;
  weight: number;
  /** The weight before the edits, where it was another. */
  before: number | null;
}

export interface ArcSide {
  /** Where the arcs start and end. */
  y: number;
  /** Room for the arcs and their figures, away from the line. */
  room: number;
  /** -1: above the line, 1: below it. */
  away: -1 | 1;
}

const FIGURES = fontOf(12.5, 600);
/** From the top of a figure to its baseline. */
const ASCENT = 11;
const FIGURE = 15;
const THINNEST = 0.02;
/** The arc of a token that looks at itself: around the dot by which the query is taken. */
const LOOP = { spread: 26, height: 24 };
const NUMBERED = 0.095;
const MOST_FIGURES = 5;

/** Draws the weak ones first, figures last, so that none is crossed. */
export function drawArcs(ctx: CanvasRenderingContext2D, arcs: readonly Arc[], side: ArcSide, palette: Palette): void {
  const sorted = [...arcs].sort((a, b) => a.weight - b.weight);
  ctx.lineCap = 'round';
  for (const arc of sorted) if (arc.before !== null && arc.before >= THINNEST) drawBefore(ctx, arc, side, palette);
  for (const arc of sorted) if (arc.weight >= THINNEST) drawArc(ctx, arc, side, palette);
  const strong = sorted.filter(({ weight }) => weight >= NUMBERED).slice(-MOST_FIGURES);
  drawFigures(ctx, strong.reverse(), side, palette);
}

/** A line that follows the pointer from the query's handle. */
export function drawReach(ctx: CanvasRenderingContext2D, from: number, to: number, side: ArcSide, palette: Palette): void {
  ctx.setLineDash([2, 4]);
  ctx.lineWidth = 2;
  ctx.strokeStyle = palette.q;
  trace(ctx, from, to, side);
  ctx.setLineDash([]);
}

function drawArc(ctx: CanvasRenderingContext2D, arc: Arc, side: ArcSide, palette: Palette): void {
  ctx.globalAlpha = 0.45 + 0.45 * Math.min(1, arc.weight * 2);
  ctx.lineWidth = 1.2 + 5.8 * arc.weight;
  ctx.strokeStyle = along(ctx, arc, palette);
  trace(ctx, arc.query, arc.key, side);
  ctx.globalAlpha = 1;
}

function drawBefore(ctx: CanvasRenderingContext2D, arc: Arc, side: ArcSide, palette: Palette): void {
  ctx.setLineDash([4, 4]);
  ctx.lineWidth = 1.2;
  ctx.strokeStyle = palette.soft;
  trace(ctx, arc.query, arc.key, side);
  ctx.setLineDash([]);
}

/** Key hue at the key, query hue at the query; a token that looks at itself gets a loop in the query's. */
function along(ctx: CanvasRenderingContext2D, { query, key }: Arc, palette: Palette): CanvasGradient | string {
  if (query === key) return palette.q;
  const gradient = ctx.createLinearGradient(key, 0, query, 0);
  gradient.addColorStop(0, palette.k);
  gradient.addColorStop(1, palette.q);
  return gradient;
}

function trace(ctx: CanvasRenderingContext2D, from: number, to: number, side: ArcSide): void {
  const spread = from === to ? LOOP.spread : 0;
  const control = side.y + (side.away * heightOf(from, to, side) * 4) / 3;
  ctx.beginPath();
  ctx.moveTo(from + spread / 2, side.y);
  ctx.bezierCurveTo(from + spread, control, to - spread, control, to - spread / 2, side.y);
  ctx.stroke();
}

/** Long arcs stand higher, so that short ones stay visible under them. */
export function heightOf(from: number, to: number, { room }: ArcSide): number {
  return Math.min(room - FIGURE, from === to ? LOOP.height : 12 + Math.abs(from - to) * 0.13);
}

function drawFigures(ctx: CanvasRenderingContext2D, arcs: Arc[], side: ArcSide, palette: Palette): void {
  const ink = { colour: palette.kText, edge: palette.paper };
  const taken: { x: number; y: number; half: number }[] = [];
  for (const arc of arcs) {
    const figure = arc.weight.toFixed(2);
    const half = widthOf(FIGURES, figure) / 2 + 4;
    const x = Math.max(half, (arc.query + arc.key) / 2);
    const y = side.y + side.away * (heightOf(arc.query, arc.key, side) + 2 + arc.weight * 3);
    if (taken.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < FIGURE)) continue;
    taken.push({ x, y, half });
    write(ctx, FIGURES, figure, x - half + 4, side.away < 0 ? y : y + ASCENT, ink);
  }
}

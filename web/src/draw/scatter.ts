/** Every head as a dot: the largest weight of the query across, the effect up. High weight is not large effect. */
import { plus } from '../core/format';
import type { Palette } from '../theme.svelte';
import { fontOf, setFont, widthOf } from './fonts';

export interface Scatter {
  weights: ArrayLike<number>;
  /** NaN where not known yet. */
  effects: ArrayLike<number>;
  /** Where the vertical scale ends, above and below. */
  end: number;
  /** Heads with their addresses written beside them. */
  named: { head: number; name: string }[];
  /** Where they stood before the edits, or null. */
  before: { weights: ArrayLike<number>; effects: ArrayLike<number> } | null;
  open: number;
  hovered: number | null;
  axes: { across: string; up: string };
}

const LEFT = 34;
const RIGHT = 10;
const TOP = 14;
const BOTTOM = 26;
const FIGURE = fontOf(9);
const NAME = fontOf(10);

export function dotAt({ weights, effects, end }: Scatter, head: number, width: number, height: number): { x: number; y: number } {
  const middle = (TOP + height - BOTTOM) / 2;
  const x = LEFT + weights[head]! * (width - LEFT - RIGHT);
  return { x, y: middle - (end === 0 ? 0 : effects[head]! / end) * (middle - TOP) };
}

/** The dot nearest to a point, within reach of it. */
export function nearestDot(scatter: Scatter, x: number, y: number, width: number, height: number, within = 14): number | null {
  let best: number | null = null;
  let least = within;
  for (let head = 0; head < scatter.weights.length; head++) {
    const dot = dotAt(scatter, head, width, height);
    const away = Math.hypot(dot.x - x, dot.y - y);
    if (away < least) [best, least] = [head, away];
  }
  return best;
}

export function paintScatter(ctx: CanvasRenderingContext2D, scatter: Scatter, width: number, height: number, palette: Palette): void {
  paintAxes(ctx, scatter, width, height, palette);
  paintBefore(ctx, scatter, width, height, palette);
  for (let head = 0; head < scatter.weights.length; head++) {
    if (Number.isNaN(scatter.effects[head]!)) continue;
    const { x, y } = dotAt(scatter, head, width, height);
    ctx.fillStyle = scatter.effects[head]! < 0 ? palette.against : palette.ink;
    ctx.globalAlpha = 0.55;
    ctx.beginPath();
    ctx.arc(x, y, 2.2, 0, 2 * Math.PI);
    ctx.fill();
    ctx.globalAlpha = 1;
  }
  for (const head of [scatter.open, scatter.hovered]) if (head !== null) paintRing(ctx, scatter, head, width, height, palette);
  paintNames(ctx, scatter, width, height, palette);
}

const MOST_GHOSTS = 12;
const MOVED = 5;

/** Dashed, from where a dot stood before the edits to where it stands: for those that moved farthest. */
function paintBefore(ctx: CanvasRenderingContext2D, scatter: Scatter, width: number, height: number, palette: Palette): void {
  if (!scatter.before) return;
  const old = { ...scatter, ...scatter.before };
  const moves = Array.from({ length: scatter.weights.length }, (_, head) => {
    const [from, to] = [dotAt(old, head, width, height), dotAt(scatter, head, width, height)];
    return { from, to, far: Math.hypot(to.x - from.x, to.y - from.y) };
  }).filter(({ far }) => far >= MOVED);
  ctx.strokeStyle = palette.soft;
  ctx.lineWidth = 1;
  ctx.setLineDash([2, 2]);
  for (const { from, to } of moves.sort((a, b) => b.far - a.far).slice(0, MOST_GHOSTS)) {
    ctx.beginPath();
    ctx.arc(from.x, from.y, 3, 0, 2 * Math.PI);
    ctx.moveTo(from.x, from.y);
    ctx.lineTo(to.x, to.y);
    ctx.stroke();
  }
  ctx.setLineDash([]);
}

function paintAxes(ctx: CanvasRenderingContext2D, { end, axes }: Scatter, width: number, height: number, palette: Palette): void {
  const middle = (TOP + height - BOTTOM) / 2;
  ctx.strokeStyle = palette.line;
  ctx.lineWidth = 1;
  ctx.strokeRect(LEFT + 0.5, TOP + 0.5, width - LEFT - RIGHT, height - TOP - BOTTOM);
  ctx.beginPath();
  ctx.moveTo(LEFT, middle);
  ctx.lineTo(width - RIGHT, middle);
  ctx.stroke();
  ctx.fillStyle = palette.soft;
  setFont(ctx, FIGURE);
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'right';
  [end, 0, -end].forEach((value, i) => ctx.fillText(value === 0 ? '0' : plus(value, 1), LEFT - 4, [TOP + 4, middle, height - BOTTOM - 4][i]!));
  ctx.textBaseline = 'alphabetic';
  ctx.textAlign = 'left';
  ctx.fillText(axes.up, 0, 8);
  ctx.fillText('0', LEFT, height - BOTTOM + 11);
  ctx.textAlign = 'right';
  ctx.fillText('1', width - RIGHT, height - BOTTOM + 11);
  ctx.textAlign = 'center';
  ctx.fillText(axes.across, (LEFT + width - RIGHT) / 2, height - BOTTOM + 21);
}

function paintRing(ctx: CanvasRenderingContext2D, scatter: Scatter, head: number, width: number, height: number, palette: Palette): void {
  if (Number.isNaN(scatter.effects[head]!)) return;
  const { x, y } = dotAt(scatter, head, width, height);
  ctx.strokeStyle = palette.ink;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  ctx.arc(x, y, 5, 0, 2 * Math.PI);
  ctx.stroke();
}

/** Names beside their dots, on the side with room; one that would cover another stays away. */
function paintNames(ctx: CanvasRenderingContext2D, scatter: Scatter, width: number, height: number, palette: Palette): void {
  setFont(ctx, NAME);
  ctx.fillStyle = palette.ink;
  ctx.textBaseline = 'middle';
  const taken: { x: number; y: number; wide: number }[] = [];
  for (const { head, name } of scatter.named) {
    if (Number.isNaN(scatter.effects[head]!)) continue;
    const dot = dotAt(scatter, head, width, height);
    const wide = widthOf(NAME, name);
    const x = dot.x + 7 + wide > width - RIGHT ? dot.x - 7 - wide : dot.x + 7;
    if (taken.some((other) => Math.abs(other.y - dot.y) < 10 && x < other.x + other.wide && other.x < x + wide)) continue;
    taken.push({ x, y: dot.y, wide });
    ctx.textAlign = 'left';
    ctx.fillText(name, x, dot.y);
  }
}

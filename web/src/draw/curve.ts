/** Lines over a horizontal scale: answers over an edit's strength, loss over the size of a cache. */
import type { Palette } from '../theme.svelte';
import { fontOf, setFont } from './fonts';

export interface Line {
  name: string;
  y: ArrayLike<number>;
  dashed: boolean;
}

export interface Chart {
  x: ArrayLike<number>;
  lines: Line[];
  /** Where the state stands now, in units of x. */
  mark: number | null;
  xTicks: number[];
  yTicks: number[];
  xName: string;
  yName: string;
  printX: (value: number) => string;
  printY: (value: number) => string;
  /** A dot at every x, where x is a count of things. */
  dots: boolean;
}

/** At most six round values, from 0 to just above the largest. */
export function ticks(values: readonly number[]): number[] {
  const most = Math.max(...values);
  const power = 10 ** Math.floor(Math.log10(most / 5));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => most / s <= 5)!;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => i * step);
}

const PAD = { left: 44, right: 78, top: 22, bottom: 34 };
const FIGURE = fontOf(10);
const NAME = fontOf(11, 600);

export function paintChart(ctx: CanvasRenderingContext2D, width: number, height: number, chart: Chart, palette: Palette): void {
  const [x0, x1] = [chart.xTicks[0]!, chart.xTicks.at(-1)!];
  const [y0, y1] = [chart.yTicks[0]!, chart.yTicks.at(-1)!];
  const right = chart.lines.some(({ name }) => name !== '') ? PAD.right : 16;
  const atX = (x: number) => PAD.left + ((x - x0) / (x1 - x0)) * (width - PAD.left - right);
  const atY = (y: number) => height - PAD.bottom - ((y - y0) / (y1 - y0)) * (height - PAD.top - PAD.bottom);
  paintScales(ctx, width, height, chart, palette, atX, atY, right);
  if (chart.mark !== null) paintMark(ctx, atX(chart.mark), atY(y0), palette);
  for (const line of chart.lines) paintLine(ctx, chart, line, palette, atX, atY);
  paintNames(ctx, chart, palette, atX, atY);
}

type Scale = (value: number) => number;

function paintScales(
  ctx: CanvasRenderingContext2D,
  width: number,
  height: number,
  chart: Chart,
  palette: Palette,
  atX: Scale,
  atY: Scale,
  right: number,
): void {
  setFont(ctx, FIGURE);
  ctx.lineWidth = 1;
  ctx.strokeStyle = palette.line;
  ctx.fillStyle = palette.soft;
  ctx.textAlign = 'right';
  for (const y of chart.yTicks) {
    stroke(ctx, [[PAD.left, atY(y)], [width - right, atY(y)]]); // prettier-ignore
    ctx.fillText(chart.printY(y), PAD.left - 6, atY(y) + 3.5);
  }
  ctx.textAlign = 'center';
  for (const x of chart.xTicks) ctx.fillText(chart.printX(x), atX(x), height - PAD.bottom + 13);
  ctx.fillText(`${chart.xName} →`, (PAD.left + width - right) / 2, height - 6);
  ctx.textAlign = 'left';
  ctx.fillText(`↑ ${chart.yName}`, 4, 11);
}

function paintMark(ctx: CanvasRenderingContext2D, x: number, bottom: number, palette: Palette): void {
  ctx.strokeStyle = palette.edge;
  ctx.setLineDash([1, 2]);
  stroke(ctx, [[x, PAD.top - 4], [x, bottom]]); // prettier-ignore
  ctx.setLineDash([]);
  ctx.fillStyle = palette.ink;
  ctx.beginPath();
  ctx.moveTo(x, bottom);
  ctx.lineTo(x - 4, bottom + 6);
  ctx.lineTo(x + 4, bottom + 6);
  ctx.fill();
}

function paintLine(ctx: CanvasRenderingContext2D, chart: Chart, { y, dashed }: Line, palette: Palette, atX: Scale, atY: Scale): void {
  ctx.strokeStyle = ctx.fillStyle = palette.ink;
  ctx.lineWidth = 1.6;
  ctx.setLineDash(dashed ? [5, 3] : []);
  const points = Array.from(y, (value, i): [number, number] => [atX(chart.x[i]!), atY(value)]);
  stroke(ctx, points);
  ctx.setLineDash([]);
  if (!chart.dots) return;
  for (const [i, [px, py]] of points.entries()) {
    ctx.beginPath();
    ctx.arc(px, py, chart.x[i] === chart.mark ? 5 : 2, 0, 2 * Math.PI);
    ctx.fill();
  }
}

/** Names at the ends of the lines, pushed apart where they would touch. */
function paintNames(ctx: CanvasRenderingContext2D, { x, lines }: Chart, palette: Palette, atX: Scale, atY: Scale): void {
  setFont(ctx, NAME);
  ctx.fillStyle = palette.ink;
  ctx.textAlign = 'left';
  let last = -Infinity;
  const ends = lines.map(({ name, y }) => ({ name, at: atY(y[y.length - 1]!) })).sort((a, b) => a.at - b.at);
  for (const { name, at } of ends) {
    last = Math.max(at, last + 13);
    ctx.fillText(name, atX(x[x.length - 1]!) + 7, last + 4, PAD.right - 9);
  }
}

function stroke(ctx: CanvasRenderingContext2D, points: [number, number][]): void {
  ctx.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? ctx.moveTo(x, y) : ctx.lineTo(x, y)));
  ctx.stroke();
}

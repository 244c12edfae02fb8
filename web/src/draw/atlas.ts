/** Every head as a point on two scales, baselines as dashed lines with their interval. */
import { at, type Scale } from '../atlas/axes';
import type { Numbers } from '../atlas/data';
import type { Palette } from '../theme.svelte';
import { fontOf, setFont, widthOf, type Font } from './fonts';
import { placeLabels, type Box, type Wanted } from './labels';

export interface Axis {
  values: Numbers;
  scale: Scale;
  name: string;
  /** Printed at a tick. */
  print: (value: number) => string;
  baselines: { name: string; value: number; low: number; high: number }[];
}

export interface HeadMap {
  x: Axis;
  y: Axis;
  /** From 0 to 1; null: no number, drawn as the least. */
  shades: Numbers;
  /** Heads of the chosen role; empty: no role is chosen. */
  marked: ReadonlySet<number>;
  /** Heads that are named for what is on an axis. */
  named: ReadonlySet<number>;
  /** Heads whose address is written beside them, the most important first. */
  labelled: { index: number; name: string }[];
  chosen: number | null;
  hovered: number | null;
}

export const MARGIN = { left: 52, right: 18, top: 30, bottom: 44 };
const RADIUS = 4;
const FIGURE = fontOf(11);
const HEAD = fontOf(11, 600);
const AXIS = fontOf(12, 600);

/** Where a head stands; null where it has no number on one of the axes. */
export function pointOf({ x, y }: Pick<HeadMap, 'x' | 'y'>, index: number, width: number, height: number): { x: number; y: number } | null {
  const [across, up] = [x.values[index] ?? null, y.values[index] ?? null];
  if (across === null || up === null) return null;
  const { left, right, top, bottom } = MARGIN;
  return { x: left + at(x.scale, across) * (width - left - right), y: height - bottom - at(y.scale, up) * (height - top - bottom) };
}

/** The head whose point is nearest, within reach of it. */
export function nearestHead(map: HeadMap, x: number, y: number, width: number, height: number, within = 18): number | null {
  let best: number | null = null;
  let least = within;
  for (let index = 0; index < map.x.values.length; index++) {
    const point = pointOf(map, index, width, height);
    const away = point ? Math.hypot(point.x - x, point.y - y) : Infinity;
    if (away < least) [best, least] = [index, away];
  }
  return best;
}

/** The nearest head on one side of another, by angle and distance; null where there is none. */
export function headBeside(map: HeadMap, from: number | null, [dx, dy]: readonly [number, number], width: number, height: number): number | null {
  const start = from === null ? null : pointOf(map, from, width, height);
  let best: number | null = null;
  let least = Infinity;
  for (let index = 0; index < map.x.values.length; index++) {
    const point = pointOf(map, index, width, height);
    if (!point || index === from) continue;
    if (!start) return index;
    const [along, aside] = [(point.x - start.x) * dx + (point.y - start.y) * dy, Math.abs((point.x - start.x) * dy) + Math.abs((point.y - start.y) * dx)];
    const cost = along + 3 * aside;
    if (along > 0.01 && cost < least) [best, least] = [index, cost];
  }
  return best;
}

export function paintMap(ctx: CanvasRenderingContext2D, map: HeadMap, width: number, height: number, palette: Palette): void {
  paintScales(ctx, map, width, height, palette);
  paintBaselines(ctx, map, width, height, palette);
  const focus = map.marked.size > 0;
  const order = map.x.values.map((_, index) => index).sort((a, b) => Number(map.marked.has(a)) - Number(map.marked.has(b)));
  for (const index of order) {
    const point = pointOf(map, index, width, height);
    if (!point) continue;
    ctx.globalAlpha = focus && !map.marked.has(index) ? 0.25 : 1;
    disc(ctx, point, RADIUS, mix(palette.track, palette.ink, map.shades[index] ?? 0), palette.edge);
    if (focus ? map.marked.has(index) : map.named.has(index)) ring(ctx, point, RADIUS + 2.5, palette.ink, 1);
  }
  ctx.globalAlpha = 1;
  if (map.hovered !== null) mark(ctx, map, map.hovered, RADIUS + 3, 1.5, width, height, palette);
  if (map.chosen !== null) mark(ctx, map, map.chosen, RADIUS + 4.5, 2.5, width, height, palette);
  paintNames(ctx, map, width, height, palette);
}

/** A colour between two of the palette, which are written as #rrggbb. */
export function mix(from: string, to: string, share: number): string {
  const channel = (colour: string, at: number) => parseInt(colour.slice(1 + 2 * at, 3 + 2 * at), 16);
  const mixed = [0, 1, 2].map((at) => Math.round(channel(from, at) + (channel(to, at) - channel(from, at)) * Math.min(1, Math.max(0, share))));
  return `rgb(${mixed.join(' ')})`;
}

// ---- within

function paintScales(ctx: CanvasRenderingContext2D, { x, y }: HeadMap, width: number, height: number, palette: Palette): void {
  const { left, right, top, bottom } = MARGIN;
  const [end, floor] = [width - right, height - bottom];
  setFont(ctx, FIGURE);
  ctx.lineWidth = 1;
  ctx.strokeStyle = palette.line;
  ctx.fillStyle = palette.soft;
  ctx.textBaseline = 'top';
  ctx.textAlign = 'center';
  const room = Math.max(1, Math.ceil((x.scale.ticks.length * 34) / (end - left)));
  x.scale.ticks.forEach((tick, i) => {
    const place = Math.round(left + at(x.scale, tick) * (end - left)) + 0.5;
    line(ctx, place, top, place, floor);
    if (i % room === 0) ctx.fillText(x.print(tick), place, floor + 6);
  });
  ctx.textAlign = 'right';
  ctx.textBaseline = 'middle';
  for (const tick of y.scale.ticks) {
    const place = Math.round(floor - at(y.scale, tick) * (floor - top)) + 0.5;
    line(ctx, left, place, end, place);
    ctx.fillText(y.print(tick), left - 7, place);
  }
  ctx.fillStyle = palette.ink;
  setFont(ctx, AXIS);
  ctx.textBaseline = 'alphabetic';
  ctx.fillText(fitted(AXIS, `${x.name} →`, end - left), end, height - 6);
  ctx.textAlign = 'left';
  ctx.fillText(fitted(AXIS, `↑ ${y.name}`, end - 8), 8, 14);
}

/** Text that is cut where it would not fit. */
function fitted(font: Font, text: string, width: number): string {
  let shown = text;
  while (shown.length > 4 && widthOf(font, shown) > width) shown = `${shown.slice(0, -2).trimEnd()}…`;
  return shown;
}

function paintBaselines(ctx: CanvasRenderingContext2D, map: HeadMap, width: number, height: number, palette: Palette): void {
  const { left, right, top, bottom } = MARGIN;
  const [wide, tall] = [width - left - right, height - top - bottom];
  const across = (value: number) => left + at(map.x.scale, value) * wide;
  const up = (value: number) => height - bottom - at(map.y.scale, value) * tall;
  ctx.fillStyle = palette.ink;
  ctx.globalAlpha = 0.06;
  for (const { low, high } of map.x.baselines) ctx.fillRect(across(low), top, across(high) - across(low), tall);
  for (const { low, high } of map.y.baselines) ctx.fillRect(left, up(high), wide, up(low) - up(high));
  ctx.globalAlpha = 1;
  ctx.strokeStyle = palette.soft;
  ctx.setLineDash([4, 3]);
  for (const { value } of map.x.baselines) line(ctx, across(value), top, across(value), height - bottom);
  for (const { value } of map.y.baselines) line(ctx, left, up(value), width - right, up(value));
  ctx.setLineDash([]);
}

/** Names of baselines and heads, each where it covers least: baselines first, they cannot be hovered. */
function paintNames(ctx: CanvasRenderingContext2D, map: HeadMap, width: number, height: number, palette: Palette): void {
  const { left, right, top, bottom } = MARGIN;
  const picture: Box = { x: left, y: top, width: width - left - right, height: height - top - bottom };
  const obstacles: Box[] = [];
  for (let index = 0; index < map.x.values.length; index++) {
    const point = pointOf(map, index, width, height);
    if (point) obstacles.push({ x: point.x - 4, y: point.y - 4, width: 8, height: 8 });
  }
  const wanted: Wanted[] = map.labelled.flatMap(({ index, name }) => {
    const point = pointOf(map, index, width, height);
    return point ? [{ id: name, text: name, x: point.x, y: point.y, gap: 9, must: index === map.chosen || index === map.hovered }] : [];
  });
  const lines: Wanted[] = [
    ...map.y.baselines.map(({ name, value }) => ({ id: `up ${name}`, text: name, x: width - right - 8, y: height - bottom - at(map.y.scale, value) * picture.height, gap: 2, must: true })),
    ...map.x.baselines.map(({ name, value }) => ({ id: `across ${name}`, text: name, x: left + at(map.x.scale, value) * picture.width, y: top + 8, gap: 3, must: true })),
  ];
  const placed = placeLabels([...wanted, ...lines], (text) => widthOf(FIGURE, text) + 4, 14, picture, obstacles, new Map());
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  const heads = new Set(wanted.map(({ id }) => id));
  for (const { id, text, box } of placed) {
    ctx.fillStyle = palette.paper;
    ctx.globalAlpha = 0.8;
    ctx.fillRect(box.x, box.y, box.width, box.height);
    ctx.globalAlpha = 1;
    ctx.fillStyle = heads.has(id) ? palette.ink : palette.soft;
    setFont(ctx, heads.has(id) ? HEAD : FIGURE);
    ctx.fillText(text, box.x + 2, box.y + box.height / 2 + 0.5);
  }
}

function line(ctx: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

function disc(ctx: CanvasRenderingContext2D, { x, y }: { x: number; y: number }, radius: number, fill: string, stroke: string): void {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fillStyle = fill;
  ctx.fill();
  ctx.strokeStyle = stroke;
  ctx.lineWidth = 0.75;
  ctx.stroke();
}

function ring(ctx: CanvasRenderingContext2D, { x, y }: { x: number; y: number }, radius: number, colour: string, thick: number): void {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.strokeStyle = colour;
  ctx.lineWidth = thick;
  ctx.stroke();
}

function mark(ctx: CanvasRenderingContext2D, map: HeadMap, index: number, radius: number, thick: number, width: number, height: number, palette: Palette): void {
  const point = pointOf(map, index, width, height);
  if (point) ring(ctx, point, radius, palette.ink, thick);
}

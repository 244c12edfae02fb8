/** The planes on a canvas: which key wins where, the axes, the dots of keys or values, the arrow of the query. */
import { toScreen, type Frame } from '../core/matchview';
import type { Point } from '../core/planes';
import type { Palette } from '../theme.svelte';
import { fontOf, setFont, widthOf } from './fonts';
import { placeLabels, type Box, type Wanted } from './labels';
import { write } from './words';

export interface Dot {
  at: Point;
  radius: number;
  hollow: boolean;
  label: string;
  /** The chosen one: a thin ring around it. */
  ring: boolean;
  /** Labelled whatever happens. */
  must: boolean;
  /** Labelled if there is room, the largest first; 0: only on demand. */
  rank: number;
}

export interface Axes {
  /** Null: the plane has no axis at all. */
  across: string | null;
  up: string | null;
  origin: string;
}

const DASH = [3, 3];
const AXIS = fontOf(10);
const LABEL = fontOf(12, 600);
const ZERO = fontOf(11);

// ---- the ground: where each key wins

/** Regions are polygons in the query's coordinates, one for each key; under the axes' lines. */
export function paintGround(ctx: CanvasRenderingContext2D, frame: Frame, regions: Point[][], axes: Axes, palette: Palette): void {
  const land = [palette.land1, palette.land2, palette.land3, palette.land4, palette.land5];
  const around = regions.filter((polygon) => polygon.length > 2).sort((a, b) => bearing(a) - bearing(b));
  around.forEach((polygon, i) => {
    const last = i === around.length - 1 && i > 0 && i % land.length === 0;
    ctx.fillStyle = ctx.strokeStyle = land[last ? 2 : i % land.length]!;
    tracePolygon(ctx, polygon.map((corner) => toScreen(frame, frame.perQuery, corner)));
    ctx.fill();
    ctx.lineWidth = 0.6;
    ctx.stroke();
  });
  paintAxes(ctx, frame, axes, palette);
}

function paintAxes(ctx: CanvasRenderingContext2D, frame: Frame, axes: Axes, palette: Palette): void {
  const { width, height, x, y } = frame;
  ctx.strokeStyle = palette.edge;
  ctx.lineWidth = 1;
  ctx.setLineDash([1, 3]);
  if (axes.across !== null) line(ctx, 0, y, width, y);
  if (axes.up !== null) line(ctx, x, 0, x, height);
  ctx.setLineDash([]);
  line(ctx, x - 4, y, x + 4, y);
  line(ctx, x, y - 4, x, y + 4);
}

export interface Name {
  text: string;
  box: Box;
}

/** The names of the axes and of the origin, over the dots: in a crowd there is no place without any. */
export function paintAxisNames(ctx: CanvasRenderingContext2D, names: readonly Name[], palette: Palette): void {
  const ink = { colour: palette.soft, edge: palette.sheet };
  for (const { text, box } of names) write(ctx, AXIS, text, box.x, box.y + box.height - 3, ink);
}

const NAME_HEIGHT = 13;
/** Around the middle of a dot: a name that comes nearer would touch it, or the ring around it. */
const DOT_REACH = 11;

/** Where the names of the axes and of the origin stand: each at that one of its places where the fewest dots are. */
export function axisNames(frame: Frame, points: Float64Array, axes: Axes): Name[] {
  const { width, x, y } = frame;
  const dots = Array.from({ length: points.length / 2 }, (_, j) => toScreen(frame, frame.perKey, [points[2 * j]!, points[2 * j + 1]!]));
  const names: Name[] = [];
  const add = (text: string | null, places: (wide: number) => [left: number, top: number][]) => {
    if (text === null) return;
    const wide = widthOf(AXIS, text);
    const boxes = places(wide).map(([left, top]) => ({ x: left, y: top, width: wide, height: NAME_HEIGHT }));
    const costs = boxes.map((box) => {
      const out = box.x < 2 || box.x + wide > width - 2 || box.y < 0 || box.y + NAME_HEIGHT > frame.height;
      return crowdOf(box, dots) + 10 * Number(out) + 10 * names.filter((other) => meet(box, other.box)).length;
    });
    names.push({ text, box: boxes[costs.indexOf(Math.min(...costs))]! });
  };
  const [right, left] = [x + 6, x - 6];
  add(axes.across, (wide) => [[width - 6 - wide, y - 17], [width - 6 - wide, y + 4], [6, y - 17]]); // prettier-ignore
  add(axes.up, (wide) => {
    const both: [number, number][] = [3, 17].flatMap((top) => [[right, top], [left - wide, top]]); // prettier-ignore
    return x > width / 2 ? [both[1]!, both[0]!, both[3]!, both[2]!] : both;
  });
  add(axes.origin, (wide) => [4, -17, 21].flatMap((below): [number, number][] => [[left - wide, y + below], [right, y + below]]));
  return names;
}

function crowdOf({ x, y, width, height }: Box, dots: readonly Point[]): number {
  return dots.filter(([px, py]) => px > x - DOT_REACH && px < x + width + DOT_REACH && py > y - DOT_REACH && py < y + height + DOT_REACH).length;
}

function meet(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

function bearing(polygon: Point[]): number {
  const [x, y] = polygon.reduce(([sx, sy], [px, py]) => [sx + px, sy + py], [0, 0]);
  return Math.atan2(y, x);
}

// ---- points

/** Dots with their labels; those of `ghosts` are drawn dashed behind them. `sides` remembers where labels stood. */
export function paintDots(
  ctx: CanvasRenderingContext2D,
  frame: Frame,
  dots: Dot[],
  ghosts: { at: Point; radius: number }[],
  hue: string,
  palette: Palette,
  obstacles: Box[],
  sides: Map<string, number>,
): void {
  ctx.strokeStyle = palette.edge;
  ctx.lineWidth = 1.2;
  ctx.setLineDash(DASH);
  for (const { at, radius } of ghosts) circle(ctx, toScreen(frame, frame.perKey, at), radius), ctx.stroke();
  ctx.setLineDash([]);
  ctx.lineWidth = 1.5;
  ctx.strokeStyle = ctx.fillStyle = hue;
  for (const hollow of [false, true]) {
    ctx.beginPath(); // one for all: five hundred of their own take many times as long
    for (const dot of dots) if (dot.hollow === hollow) addCircle(ctx, toScreen(frame, frame.perKey, dot.at), dot.radius);
    if (!hollow) ctx.fill();
    ctx.stroke();
  }
  ctx.lineWidth = 1;
  ctx.strokeStyle = palette.ink;
  for (const { at, radius, ring } of dots) if (ring) circle(ctx, toScreen(frame, frame.perKey, at), radius + 3.5), ctx.stroke();
  paintLabels(ctx, frame, dots, palette, obstacles, sides);
}

function paintLabels(ctx: CanvasRenderingContext2D, frame: Frame, dots: Dot[], palette: Palette, obstacles: Box[], sides: Map<string, number>): void {
  const ink = { colour: palette.ink, edge: palette.sheet };
  const named = dots.map((dot, i) => ({ dot, id: `${i}` })).filter(({ dot }) => dot.must || dot.rank > 0);
  named.sort((a, b) => Number(b.dot.must) - Number(a.dot.must) || b.dot.rank - a.dot.rank);
  const wanted = named.map(({ dot, id }): Wanted => {
    const [x, y] = toScreen(frame, frame.perKey, dot.at);
    return { id, text: dot.label, x, y, gap: dot.radius + (dot.ring ? 6 : 4), must: dot.must };
  });
  const taken = [...obstacles, ...dots.map((dot) => around(toScreen(frame, frame.perKey, dot.at), dot.radius + (dot.ring ? 4 : 1)))];
  const picture = { x: 3, y: 3, width: frame.width - 6, height: frame.height - 6 };
  for (const { text, box, apart, x, y, gap } of placeLabels(wanted, (text) => widthOf(LABEL, text), 14, picture, taken, sides, true)) {
    ctx.strokeStyle = palette.soft;
    ctx.lineWidth = 0.8;
    if (apart) leader(ctx, [x, y], gap - 3, box);
    write(ctx, LABEL, text, box.x, box.y + box.height - 3, ink);
  }
}

/** A thin line from a dot to a label that stands farther away. */
function leader(ctx: CanvasRenderingContext2D, [x, y]: Point, from: number, box: Box): void {
  const nearest = (at: number, start: number, length: number) => Math.max(start, Math.min(at, start + length));
  const [toX, toY] = [nearest(x, box.x - 2, box.width + 4), nearest(y, box.y + 2, box.height - 2)];
  const length = Math.hypot(toX - x, toY - y);
  if (length > from) line(ctx, x + (from / length) * (toX - x), y + (from / length) * (toY - y), toX, toY);
}

// ---- the query

/** The arrow of the query, with the place where a hand takes it; dashed: where it was before the edits. */
export function paintArrow(ctx: CanvasRenderingContext2D, frame: Frame, to: Point, before: Point | null, palette: Palette): void {
  const origin: Point = [frame.x, frame.y];
  ctx.strokeStyle = ctx.fillStyle = palette.q;
  if (before) {
    ctx.setLineDash(DASH);
    arrow(ctx, origin, toScreen(frame, frame.perQuery, before), 1.2);
    ctx.setLineDash([]);
  }
  const end = toScreen(frame, frame.perQuery, to);
  ctx.globalAlpha = 0.22;
  circle(ctx, end, 13);
  ctx.fill();
  ctx.globalAlpha = 1;
  arrow(ctx, origin, end, 3);
  const ink = { colour: palette.qText, edge: palette.sheet };
  write(ctx, LABEL, 'q', end[0] - widthOf(LABEL, 'q') / 2, end[1] + (end[1] > frame.height - 40 ? -18 : 25), ink);
}

/** What labels keep clear of: the head of the arrow and its line. */
export function arrowBoxes(frame: Frame, to: Point): Box[] {
  const [x, y] = toScreen(frame, frame.perQuery, to);
  const steps = Array.from({ length: 9 }, (_, i) => i / 9);
  const along = steps.map((t): Point => [frame.x + t * (x - frame.x), frame.y + t * (y - frame.y)]);
  return [around([x, y], 14), { x: x - 8, y: y + 12, width: 16, height: 16 }, ...along.map((at) => around(at, 4))];
}

// ---- the blend

export interface BlendPicture {
  polygon: Point[];
  z: Point;
  zBefore: Point | null;
  /** Where 0 stands, if it joins the polygon. */
  zero: Point | null;
}

/** The values' polygon, and z within it. */
export function paintPolygon(ctx: CanvasRenderingContext2D, frame: Frame, { polygon, zero }: BlendPicture, palette: Palette): void {
  tracePolygon(ctx, polygon.map((corner) => toScreen(frame, frame.perKey, corner)));
  ctx.fillStyle = palette.vWash;
  ctx.fill();
  ctx.strokeStyle = palette.v;
  ctx.lineWidth = 1;
  ctx.stroke();
  if (!zero) return;
  const [x, y] = toScreen(frame, frame.perKey, zero);
  ctx.strokeStyle = ctx.fillStyle = palette.soft;
  line(ctx, x - 4, y - 4, x + 4, y + 4);
  line(ctx, x - 4, y + 4, x + 4, y - 4);
  setFont(ctx, ZERO);
  ctx.textAlign = 'left';
  ctx.fillText('0', x + 7, y + 4);
}

export function paintBlend(ctx: CanvasRenderingContext2D, frame: Frame, { z, zBefore }: BlendPicture, palette: Palette): void {
  ctx.strokeStyle = ctx.fillStyle = palette.ink;
  if (zBefore) {
    ctx.setLineDash(DASH);
    ctx.lineWidth = 1.2;
    circle(ctx, toScreen(frame, frame.perKey, zBefore), 6);
    ctx.stroke();
    ctx.setLineDash([]);
  }
  const at = toScreen(frame, frame.perKey, z);
  circle(ctx, at, 5.5);
  ctx.fill();
  write(ctx, LABEL, 'z', at[0] - 9 - widthOf(LABEL, 'z'), at[1] + 4, { colour: palette.ink, edge: palette.sheet });
}

/** What labels keep clear of: z and its name. */
export function blendBoxes(frame: Frame, z: Point): Box[] {
  const [x, y] = toScreen(frame, frame.perKey, z);
  return [{ x: x - 20, y: y - 7, width: 28, height: 14 }];
}

// ---- lines

function arrow(ctx: CanvasRenderingContext2D, from: Point, to: Point, width: number): void {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (length < 1) return;
  const [ux, uy] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
  const head = Math.min(length, 4 + 2 * width);
  const [bx, by] = [to[0] - ux * head, to[1] - uy * head];
  ctx.lineWidth = width;
  line(ctx, from[0], from[1], bx, by);
  const half = head * 0.45;
  tracePolygon(ctx, [to, [bx - uy * half, by + ux * half], [bx + uy * half, by - ux * half]]);
  ctx.fill();
}

function line(ctx: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

function circle(ctx: CanvasRenderingContext2D, at: Point, radius: number): void {
  ctx.beginPath();
  addCircle(ctx, at, radius);
}

function addCircle(ctx: CanvasRenderingContext2D, [x, y]: Point, radius: number): void {
  ctx.moveTo(x + radius, y);
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
}

function tracePolygon(ctx: CanvasRenderingContext2D, corners: Point[]): void {
  ctx.beginPath();
  corners.forEach(([x, y], i) => (i === 0 ? ctx.moveTo(x, y) : ctx.lineTo(x, y)));
  ctx.closePath();
}

function around([x, y]: Point, radius: number): Box {
  return { x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius };
}

/** An element's background and borders. */
import { paintOf, painted, tag, type Attributes } from './markup';

const SIDES = ['Top', 'Right', 'Bottom', 'Left'] as const;

interface Border {
  width: number;
  color: string;
  style: string;
}

export function drawBox(rect: DOMRect, style: CSSStyleDeclaration): string {
  const radius = Math.min(parseFloat(style.borderTopLeftRadius) || 0, rect.width / 2, rect.height / 2);
  const fill = paintOf(style.backgroundColor);
  const background = fill ? tag('rect', { ...within(rect, 0), rx: radius || null, ...painted('fill', fill) }) : '';
  return background + drawHairline(rect, style) + drawBorders(rect, radius, SIDES.map((side) => borderOf(style, side)));
}

/** A sharp shadow inside the box, which is how a line is drawn that takes no room. */
function drawHairline({ left, right, top, bottom, width, height }: DOMRect, style: CSSStyleDeclaration): string {
  const found = /^(.+\)) (-?[\d.]+)px (-?[\d.]+)px 0px 0px inset$/.exec(style.boxShadow);
  const paint = found && paintOf(found[1]!);
  if (!found || !paint) return '';
  const [dx, dy] = [Number(found[2]), Number(found[3])];
  const across = { x: dx > 0 ? left : right + dx, y: top, width: Math.abs(dx), height };
  const along = { x: left, y: dy > 0 ? top : bottom + dy, width, height: Math.abs(dy) };
  return [across, along].filter((line) => line.width > 0 && line.height > 0).map((line) => tag('rect', { ...line, ...painted('fill', paint) })).join('');
}

function borderOf(style: CSSStyleDeclaration, side: (typeof SIDES)[number]): Border {
  const shown = style[`border${side}Style`];
  const width = shown === 'none' || shown === 'hidden' ? 0 : parseFloat(style[`border${side}Width`]);
  return { width, color: style[`border${side}Color`], style: shown };
}

function drawBorders(rect: DOMRect, radius: number, borders: Border[]): string {
  const [first] = borders as [Border];
  const alike = borders.every(({ width, color, style }) => width === first.width && color === first.color && style === first.style);
  if (!alike) return borders.map((border, side) => drawSide(rect, border, side)).join('');
  const stroke = strokeOf(first);
  if (!stroke) return '';
  const rx = Math.max(0, radius - first.width / 2) || null;
  return tag('rect', { ...within(rect, first.width / 2), rx, fill: 'none', ...stroke });
}

function drawSide({ left, right, top, bottom }: DOMRect, border: Border, side: number): string {
  const stroke = strokeOf(border);
  if (!stroke) return '';
  const half = border.width / 2;
  const [x, y] = [[left, right - half, left, left + half], [top + half, top, bottom - half, top]].map((at) => at[side]!) as [number, number];
  const level = side % 2 === 0;
  return tag('line', { x1: x, y1: y, x2: level ? right : x, y2: level ? y : bottom, ...stroke });
}

function strokeOf({ width, color, style }: Border): Attributes | null {
  const paint = paintOf(color);
  if (width === 0 || !paint) return null;
  const dashes = style === 'dashed' ? `${width * 3} ${width * 2}` : style === 'dotted' ? `${width} ${width * 1.5}` : null;
  return { ...painted('stroke', paint), 'stroke-width': width, 'stroke-dasharray': dashes };
}

function within({ left, top, width, height }: DOMRect, inset: number): Attributes {
  return { x: left + inset, y: top + inset, width: Math.max(0, width - 2 * inset), height: Math.max(0, height - 2 * inset) };
}

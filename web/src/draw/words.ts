/**
 * Words with a light edge, so that they can be read over lines and dots. Each is drawn once, away from the page, and copied
 * from then on: a canvas on the page brings styles and layout up to date for every text, which is dear while a hand drags.
 */
import { widthOf, type Font } from './fonts';

export interface Ink {
  colour: string;
  edge: string;
}

const EDGE = 2.5;
/** Around a word, in CSS pixels: room for its edge. */
const ROOM = 3;
const MOST_KEPT = 512;
const kept = new Map<string, OffscreenCanvas>();

/** Write a word with its left end and its baseline at this point, in whole pixels of the screen: others would blur it. */
export function write(ctx: CanvasRenderingContext2D, font: Font, text: string, x: number, y: number, ink: Ink): void {
  const { a: scale } = ctx.getTransform();
  const size = sizeOf(font);
  const word = drawn(font, size, text, scale, ink);
  const whole = (at: number) => Math.round(at * scale) / scale;
  ctx.drawImage(word, whole(x - ROOM), whole(y - size - ROOM), word.width / scale, word.height / scale);
}

function drawn(font: Font, size: number, text: string, scale: number, { colour, edge }: Ink): OffscreenCanvas {
  const name = JSON.stringify([font, text, scale, colour, edge]);
  const known = kept.get(name);
  if (known) return known;
  const [width, height] = [widthOf(font, text) + 2 * ROOM, 1.4 * size + 2 * ROOM];
  const canvas = new OffscreenCanvas(Math.ceil(width * scale), Math.ceil(height * scale));
  const ctx = canvas.getContext('2d')!;
  ctx.scale(scale, scale);
  ctx.font = font;
  ctx.lineJoin = 'round';
  ctx.lineWidth = EDGE;
  ctx.strokeStyle = edge;
  ctx.strokeText(text, ROOM, size + ROOM);
  ctx.fillStyle = colour;
  ctx.fillText(text, ROOM, size + ROOM);
  if (kept.size >= MOST_KEPT) kept.clear();
  kept.set(name, canvas);
  return canvas;
}

function sizeOf(font: Font): number {
  return Number(/([\d.]+)px/.exec(font)![1]);
}

/** The fonts of canvases, and how wide texts are in them, without asking a canvas that is on the page. */

export type Font = string;

export function fontOf(size: number, weight: 400 | 600 = 400): Font {
  return `${weight} ${size}px "DejaVu Sans", "Noto Sans", system-ui, sans-serif`;
}

/** The font that is set in each canvas. */
const fonts = new WeakMap<CanvasRenderingContext2D, Font>();

/** Set the font, unless it is the one that is set: each setting makes the browser bring styles and layout up to date. */
export function setFont(ctx: CanvasRenderingContext2D, font: Font): void {
  if (fonts.get(ctx) === font) return;
  ctx.font = font;
  fonts.set(ctx, font);
}

/** The canvas has been resized, and has forgotten its font. */
export function forgetFont(ctx: CanvasRenderingContext2D): void {
  fonts.delete(ctx);
}

const MOST_KNOWN = 4096;
/** For each font, texts and how wide they are. */
const widths = new Map<Font, Map<string, number>>();
let measuring: OffscreenCanvasRenderingContext2D | undefined;

/** How wide a text is; measured once, away from the page, for a canvas on it would bring its styles up to date. */
export function widthOf(font: Font, text: string): number {
  let known = widths.get(font);
  if (!known || known.size >= MOST_KNOWN) widths.set(font, (known = new Map()));
  const width = known.get(text) ?? measured(font, text);
  known.set(text, width);
  return width;
}

function measured(font: Font, text: string): number {
  measuring ??= new OffscreenCanvas(1, 1).getContext('2d')!;
  if (measuring.font !== font) measuring.font = font;
  return measuring.measureText(text).width;
}

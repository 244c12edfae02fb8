/** Text nodes as SVG text, a piece for each line they take. */
import { escaped, paintOf, painted, tag, type Attributes } from './markup';

interface Run {
  text: string;
  left: number;
  right: number;
  top: number;
  height: number;
}

const measuring = document.createElement('canvas').getContext('2d')!;

export function drawTextNode(node: Text, style: CSSStyleDeclaration): string {
  if (node.data.trim() === '') return '';
  return runsOf(node).map((run) => drawRun(run, style)).join('');
}

/** Text that is no node, as in a field: at this place, in the middle of this height. */
export function drawText(text: string, left: number, top: number, height: number, style: CSSStyleDeclaration): string {
  measuring.font = style.font;
  return drawRun({ text, left, right: left + measuring.measureText(text).width, top, height }, style);
}

/** The characters of a line, without the spaces around them: where they are drawn is measured. */
function runsOf(node: Text): Run[] {
  const range = document.createRange();
  const runs: Run[] = [];
  let at = 0;
  for (const char of node.data) {
    range.setStart(node, at);
    range.setEnd(node, (at += char.length));
    const rect = range.getClientRects()[0];
    const run = runs.at(-1);
    const joins = run && rect && Math.abs(rect.top - run.top) < run.height / 2;
    if (/\s/.test(char)) {
      if (joins && rect.width > 0) run.text += ' ';
    } else if (joins) [run.text, run.right] = [run.text + char, Math.max(run.right, rect.right)];
    else if (rect) runs.push({ text: char, left: rect.left, right: rect.right, top: rect.top, height: rect.height });
  }
  return runs;
}

function drawRun({ text, left, right, top, height }: Run, style: CSSStyleDeclaration): string {
  const paint = paintOf(style.color);
  const trimmed = cased(text.trimEnd(), style.textTransform);
  if (!paint || trimmed === '') return '';
  measuring.font = style.font;
  const { fontBoundingBoxAscent: ascent, fontBoundingBoxDescent: descent } = measuring.measureText(trimmed);
  const stroke = parseFloat(style.getPropertyValue('-webkit-text-stroke-width'));
  const bold: Attributes = stroke > 0 ? { ...painted('stroke', paint), 'stroke-width': stroke } : {};
  const baseline = top + (height - ascent - descent) / 2 + ascent;
  const drawn = tag(
    'text',
    {
      x: left,
      y: baseline,
      textLength: [...trimmed].length > 1 ? right - left : null,
      'font-family': style.fontFamily,
      'font-size': parseFloat(style.fontSize),
      'font-weight': style.fontWeight === '400' ? null : style.fontWeight,
      'font-style': style.fontStyle === 'normal' ? null : style.fontStyle,
      'xml:space': 'preserve',
      ...painted('fill', paint),
      ...bold,
    },
    escaped(trimmed),
  );
  return drawn + drawDecoration(left, right, baseline, style);
}

const DASHES: Record<string, string> = { dotted: '1 2', dashed: '3 2' };

/** A line under or through the text, in its own colour, which an SVG's text cannot have. */
function drawDecoration(left: number, right: number, baseline: number, style: CSSStyleDeclaration): string {
  const paint = paintOf(style.textDecorationColor);
  const size = parseFloat(style.fontSize);
  const through = style.textDecorationLine.includes('line-through');
  if (!paint || (!through && !style.textDecorationLine.includes('underline'))) return '';
  const y = through ? baseline - 0.3 * size : baseline + (parseFloat(style.textUnderlineOffset) || 0.1 * size) + 0.5;
  const dash = DASHES[style.textDecorationStyle] ?? null;
  return tag('line', { x1: left, x2: right, y1: y, y2: y, 'stroke-width': parseFloat(style.textDecorationThickness) || 1, 'stroke-dasharray': dash, ...painted('stroke', paint) });
}

function cased(text: string, transform: string): string {
  return transform === 'uppercase' ? text.toUpperCase() : transform === 'lowercase' ? text.toLowerCase() : text;
}

/** An element as it stands on the page, drawn as an SVG that needs nothing else: no page, no style sheet, no network. */
import { drawBox } from './boxes';
import { drawControl } from './controls';
import { escaped, paintOf, painted, tag } from './markup';
import { drawText, drawTextNode } from './text';

const SVG_STYLES = [
  'fill', 'fill-opacity', 'stroke', 'stroke-opacity', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'opacity',
  'font-family', 'font-size', 'font-weight', 'text-anchor', 'dominant-baseline', 'visibility', 'display',
];

export interface Snapshot {
  svg: string;
  width: number;
  height: number;
}

export function snapshot(root: HTMLElement, title: string): Snapshot {
  const origin = root.getBoundingClientRect();
  const [width, height] = [Math.ceil(Math.max(origin.width, root.scrollWidth)), Math.ceil(Math.max(origin.height, root.scrollHeight))];
  const paper = painted('fill', paintOf(getComputedStyle(root).backgroundColor) ?? { color: '#ffffff', opacity: 1 });
  const move = `translate(${root.scrollLeft - origin.left} ${root.scrollTop - origin.top})`;
  const drawing = tag('g', { transform: move }, new Drawing().children(root));
  const inside = `<title>${escaped(title)}</title>${tag('rect', { width, height, ...paper })}${drawing}`;
  const svg = tag('svg', { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}` }, inside);
  return { svg, width, height };
}

class Drawing {
  #clips = 0;

  children(element: Element): string {
    const style = getComputedStyle(element);
    return [...element.childNodes]
      .map((node) => (node instanceof Text ? drawTextNode(node, style) : node instanceof Element ? this.element(node) : ''))
      .join('');
  }

  element(element: Element): string {
    const rect = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    if (style.display !== 'contents' && !isDrawn(element, rect, style)) return '';
    const opacity = Number(style.opacity);
    const drawn = this.#own(element, rect, style);
    return opacity < 1 ? tag('g', { opacity }, drawn) : drawn;
  }

  #own(element: Element, rect: DOMRect, style: CSSStyleDeclaration): string {
    if (element instanceof SVGSVGElement) return drawSvg(element, rect);
    const box = [...(style.display === 'inline' ? element.getClientRects() : [rect])].map((part) => drawBox(part, style)).join('');
    if (element instanceof HTMLTextAreaElement) return box;
    if (element instanceof HTMLCanvasElement) return box + drawCanvas(element, rect);
    if (element instanceof HTMLInputElement || element instanceof HTMLSelectElement) return box + drawControl(element, rect, style);
    const marker = element instanceof HTMLElement && element.tagName === 'SUMMARY' ? drawMarker(element, rect, style) : '';
    return box + marker + this.#clipped(element, rect, style);
  }

  /** What overflows a box that hides or scrolls stays within it. */
  #clipped(element: Element, rect: DOMRect, style: CSSStyleDeclaration): string {
    const inside = this.children(element);
    const overflows = element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight;
    if (inside === '' || style.overflow === 'visible' || !overflows) return inside;
    const id = `clip${++this.#clips}`;
    const { left: x, top: y, width, height } = rect;
    return tag('clipPath', { id }, tag('rect', { x, y, width, height })) + tag('g', { 'clip-path': `url(#${id})` }, inside);
  }
}

function isDrawn(element: Element, rect: DOMRect, style: CSSStyleDeclaration): boolean {
  if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
  return style.clipPath !== 'inset(50%)' && !(rect.width === 0 && rect.height === 0 && element.childElementCount === 0);
}

/** The triangle that the browser draws before what opens and closes. */
function drawMarker(summary: HTMLElement, { left, top, height }: DOMRect, style: CSSStyleDeclaration): string {
  if (style.display !== 'list-item') return '';
  const open = (summary.parentElement as HTMLDetailsElement).open;
  return drawText(open ? '▾' : '▸', left, top, Math.min(height, parseFloat(style.lineHeight) || height), style);
}

function drawCanvas(canvas: HTMLCanvasElement, { left: x, top: y, width, height }: DOMRect): string {
  if (canvas.width === 0 || canvas.height === 0) return '';
  return tag('image', { x, y, width, height, preserveAspectRatio: 'none', href: canvas.toDataURL('image/png') });
}

function drawSvg(element: SVGSVGElement, { left, top, width, height }: DOMRect): string {
  const copy = element.cloneNode(true) as SVGSVGElement;
  bakeStyles(element, copy);
  for (const [name, value] of Object.entries({ x: left, y: top, width, height })) copy.setAttribute(name, String(value));
  return new XMLSerializer().serializeToString(copy);
}

function bakeStyles(from: Element, to: Element): void {
  const style = getComputedStyle(from);
  for (const name of SVG_STYLES) to.setAttribute(name, style.getPropertyValue(name));
  to.removeAttribute('class');
  to.removeAttribute('style');
  [...from.children].forEach((child, i) => bakeStyles(child, to.children[i]!));
}

/** What the browser draws by itself: fields, lists of choices, sliders, check boxes. */
import { paintOf, painted, tag, type Paint } from './markup';
import { drawText } from './text';

const BLACK: Paint = { color: '#000000', opacity: 1 };

export function drawControl(element: HTMLInputElement | HTMLSelectElement, rect: DOMRect, style: CSSStyleDeclaration): string {
  const ink = paintOf(style.accentColor) ?? paintOf(style.color) ?? BLACK;
  if (element.type === 'range') return drawSlider(element as HTMLInputElement, rect, ink);
  if (element.type === 'checkbox' || element.type === 'radio') return drawTick(element as HTMLInputElement, rect, ink);
  const empty = element instanceof HTMLInputElement && element.value === '';
  const text = element instanceof HTMLSelectElement ? (element.selectedOptions[0]?.text ?? '') : empty ? element.placeholder : element.value;
  const left = rect.left + parseFloat(style.borderLeftWidth) + parseFloat(style.paddingLeft);
  return drawText(text, left, rect.top, rect.height, empty ? getComputedStyle(element, '::placeholder') : style);
}

function drawSlider(input: HTMLInputElement, { left, top, width, height }: DOMRect, ink: Paint): string {
  const [low, high] = [Number(input.min || 0), Number(input.max || 100)];
  const radius = Math.min(7, height / 2);
  const x = left + radius + ((Number(input.value) - low) / (high - low || 1)) * (width - 2 * radius);
  const y = top + height / 2;
  const track = tag('rect', { x: left, y: y - 2, width, height: 4, rx: 2, ...painted('fill', { ...ink, opacity: 0.25 }) });
  const run = tag('rect', { x: left, y: y - 2, width: x - left, height: 4, rx: 2, ...painted('fill', ink) });
  return track + run + tag('circle', { cx: x, cy: y, r: radius, ...painted('fill', ink) });
}

function drawTick(input: HTMLInputElement, { left, top, width, height }: DOMRect, ink: Paint): string {
  const box = { x: left + 0.5, y: top + 0.5, width: width - 1, height: height - 1, rx: input.type === 'radio' ? width / 2 : 2 };
  const frame = tag('rect', { ...box, ...(input.checked ? painted('fill', ink) : { fill: 'none' }), ...painted('stroke', ink) });
  if (!input.checked) return frame;
  const points = [[0.24, 0.52], [0.43, 0.7], [0.77, 0.3]].map(([x, y]) => `${left + x! * width},${top + y! * height}`);
  return frame + tag('polyline', { points: points.join(' '), fill: 'none', stroke: '#ffffff', 'stroke-width': 1.6 });
}

/** SVG as text: tags, numbers and colours that every viewer reads. */

export type Attributes = Record<string, string | number | null | undefined>;

export function tag(name: string, attributes: Attributes, inside = ''): string {
  const given = Object.entries(attributes).filter(([, value]) => value !== null && value !== undefined);
  const written = given.map(([key, value]) => ` ${key}="${typeof value === 'number' ? short(value) : escaped(value!)}"`);
  return inside === '' ? `<${name}${written.join('')}/>` : `<${name}${written.join('')}>${inside}</${name}>`;
}

/** Text as XML takes it; characters that XML forbids are left out. */
export function escaped(text: string): string {
  const names: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replace(/[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '').replace(/[&<>"]/g, (char) => names[char]!);
}

export function short(value: number): string {
  return String(Number(value.toFixed(2)));
}

export interface Paint {
  color: string;
  opacity: number;
}

/** A computed colour as hex and opacity; null where it is invisible. */
export function paintOf(css: string): Paint | null {
  const numbers = (css.match(/-?[\d.]+(e-?\d+)?%?/g) ?? []).map((n) => (n.endsWith('%') ? parseFloat(n) / 100 : Number(n)));
  const mixed = /^color\(srgb /.test(css);
  if (!mixed && !/^rgba?\(/.test(css)) return null;
  const [r, g, b, opacity = 1] = numbers as [number, number, number, number?];
  const hex = [r, g, b].map((x) => Math.round(Math.min(255, Math.max(0, mixed ? x * 255 : x))).toString(16).padStart(2, '0'));
  return opacity === 0 ? null : { color: `#${hex.join('')}`, opacity };
}

/** Fill or stroke in this colour. */
export function painted(property: 'fill' | 'stroke', paint: Paint): Attributes {
  return { [property]: paint.color, [`${property}-opacity`]: paint.opacity === 1 ? null : paint.opacity };
}

/** An example's text in pieces, each with what it is: the query, the right key, the key that was looked at. */
import type { Example, Span } from './data';

export interface Piece {
  text: string;
  query: boolean;
  right: boolean;
  looked: boolean;
}

/** The text cut at every mark. Places are Unicode code points, as Python counts them. */
export function piecesOf(text: string, { query, right, looked }: Pick<Example, 'query' | 'right' | 'looked'>): Piece[] {
  const points = Array.from(text);
  const cuts = new Set([0, points.length]);
  for (const span of [query, right, looked]) for (const cut of span ?? []) cuts.add(Math.min(cut, points.length));
  const places = [...cuts].sort((a, b) => a - b);
  const within = (span: Span | null, from: number, to: number) => span !== null && span[0] <= from && to <= span[1];
  return places.slice(1).map((to, i) => {
    const from = places[i]!;
    return { text: points.slice(from, to).join(''), query: within(query, from, to), right: within(right, from, to), looked: within(looked, from, to) };
  });
}

/** A place in code points as one in UTF-16 units, as the page counts. */
export function unitsOf(text: string, [start, end]: Span): [start: number, end: number] {
  const points = Array.from(text);
  const before = points.slice(0, start).join('').length;
  return [before, before + points.slice(start, end).join('').length];
}

/** What of a query's row the bench shows: which keys, on which scales, in which columns. */
import type { Floats, Row } from './mechanism';
import { strongest } from './view';
import { products } from './why';

/** Up to so many keys are all shown. */
export const ALL_SHOWN = 24;
const STRONGEST = 12;
/** A change of weight that is worth a row. */
const MOVED = 0.01;

export interface ShownKeys {
  /** In the order of the text. */
  keys: number[];
  /** How many are folded into the last row, and the weight they have together. */
  others: number;
  othersWeight: number;
}

/**
 * The keys with a row of their own: all, or the strongest 12, those that edits moved most, the first, the query itself and
 * those of interest. Keys that are held keep their rows, and only a new strongest one joins them: no row jumps under a
 * hand that drags.
 */
export function shownKeys(
  weights: Float64Array,
  visible: { first: number; last: number },
  query: number,
  interest: readonly (number | null)[],
  held: readonly number[] = [],
  before: Float64Array = weights,
): ShownKeys {
  const all = Array.from({ length: visible.last - visible.first }, (_, i) => visible.first + i);
  if (all.length <= ALL_SHOWN) return { keys: all, others: 0, othersWeight: 0 };
  const telling = held.length > 0 ? [...held, ...strongest(weights, 1)] : [...strongest(weights, STRONGEST), ...moved(weights, before)];
  const chosen = new Set([...telling, visible.first, query, ...interest]);
  const keys = all.filter((key) => chosen.has(key));
  const othersWeight = all.reduce((sum, key) => (chosen.has(key) ? sum : sum + weights[key]!), 0);
  return { keys, others: all.length - keys.length, othersWeight };
}

/** The keys whose weight an edit changed enough to be seen, at most as many as are shown for their strength. */
function moved(weights: Float64Array, before: Float64Array): number[] {
  if (before === weights) return [];
  const changes = weights.map((weight, key) => Math.abs(weight - before[key]!));
  return strongest(changes, STRONGEST).filter((key) => changes[key]! >= MOVED);
}

/** Where a scale ends: the 99th percentile of the sizes in these rows, so that one outlier does not flatten the rest. */
export function scaleOf(rows: readonly Floats[]): number {
  const sizes = new Float64Array(rows.reduce((sum, row) => sum + row.length, 0));
  let n = 0;
  for (const row of rows) for (let i = 0; i < row.length; i++) sizes[n++] = Math.abs(row[i]!);
  sizes.sort();
  return sizes.length === 0 ? 1 : sizes[Math.ceil(0.99 * sizes.length) - 1]! || sizes[sizes.length - 1]! || 1;
}

/** Where each kind of strip ends, above and below. */
export interface Scales {
  q: number;
  k: number;
  product: number;
  v: number;
  z: number;
}

export function scalesOf({ q, k, z }: Pick<Row, 'q' | 'k' | 'z'>, v: Floats, keys: readonly number[]): Scales {
  const of = (rows: Floats) => keys.map((key) => rowAt(rows, key, q.length));
  return { q: scaleOf([q]), k: scaleOf(of(k)), product: scaleOf(of(k).map((row) => products(q, row))), v: scaleOf(of(v)), z: scaleOf([z]) };
}

/** Row `at` of a row-major array. */
export function rowAt(rows: Floats, at: number, d: number): Floats {
  return rows.subarray(at * d, (at + 1) * d);
}

// ---- the table's columns

export type Column = 'token' | 'key' | 'product' | 'score' | 'weight' | 'value' | 'share';
export const COLUMNS: Column[] = ['token', 'key', 'product', 'score', 'weight', 'value', 'share'];

export interface Span {
  x: number;
  width: number;
}
export type Columns = Record<Column, Span>;

const WIDE = { token: 112, score: 58, weight: 136, share: 54 };
const NARROW = { token: 76, score: 44, weight: 92, share: 40 };
const NARROW_UNDER = 600;
const PHONE = { token: 72, score: 40, weight: 82, share: 40 };
const PHONE_UNDER = 440;

/** Where each column stands: text columns have their width, the three strips share what is left. */
export function columnsOf(width: number): Columns {
  const fixed: Partial<Record<Column, number>> = width < PHONE_UNDER ? PHONE : width < NARROW_UNDER ? NARROW : WIDE;
  const strip = (width - Object.values(fixed).reduce((sum, of) => sum + of, 0)) / 3;
  let x = 0;
  const spans = COLUMNS.map((column) => {
    const span = { x, width: fixed[column] ?? strip };
    x += span.width;
    return [column, span] as const;
  });
  return Object.fromEntries(spans) as Columns;
}

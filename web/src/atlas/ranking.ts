/** Heads in order of a measure or a quantity, with all that stands beside the number. */
import { addressOf } from '../core/address';
import { sumOf, valuesOf } from './axes';
import { rolesOf, type Ablation, type Atlas } from './data';

export interface RankedHead {
  index: number;
  head: string;
  value: number | null;
  low: number | null;
  high: number | null;
  whole: number | null;
  selection: number | null;
  twin: number | null;
  control: number | null;
  ablation: Ablation | null;
  named: boolean;
}

export type SortBy = 'head' | 'value' | 'whole' | 'selection' | 'twin' | 'control' | 'ablation';
export interface Sort {
  by: SortBy;
  /** The smallest first. */
  up: boolean;
}

/** Every head that has a number on this axis, the best on the whole corpus first. */
export function ranked(atlas: Atlas, axis: string): RankedHead[] {
  const held = sumOf(axis) === null ? atlas.measures[axis] : undefined;
  const values = valuesOf(atlas, axis);
  const named = new Map(atlas.roles.filter(({ role }) => role === axis).flatMap(({ heads }) => heads.map((row) => [row.head, row] as const)));
  const rows: RankedHead[] = values.map((value, index) => {
    const head = addressOf(index, atlas.model.n_head);
    const of = (field: 'low' | 'high' | 'whole' | 'selection' | 'twin') => held?.[field]?.[index] ?? null;
    return {
      index,
      head,
      value,
      low: of('low'),
      high: of('high'),
      whole: held ? of('whole') : value,
      selection: of('selection'),
      twin: of('twin'),
      control: held?.control?.[index] ?? null,
      ablation: named.get(head)?.ablation ?? null,
      named: named.has(head),
    };
  });
  return sorted(rows.filter(({ value, whole }) => value !== null || whole !== null), { by: 'whole', up: false });
}

/** The same rows by a column; heads without a number there stand last either way. */
export function sorted(rows: readonly RankedHead[], { by, up }: Sort): RankedHead[] {
  const key = (row: RankedHead) => (by === 'head' ? row.index : by === 'ablation' ? (row.ablation?.at ?? null) : row[by]);
  return [...rows].sort((a, b) => {
    const [one, other] = [key(a), key(b)];
    if (one === null || other === null) return one === other ? a.index - b.index : one === null ? 1 : -1;
    return (up ? one - other : other - one) || a.index - b.index;
  });
}

/** The place of a head in a measure, from 1, and among how many; null where it has no number. */
export function placeOf(atlas: Atlas, axis: string, index: number): { place: number; of: number } | null {
  const values = (sumOf(axis) === null ? atlas.measures[axis]?.whole : null) ?? valuesOf(atlas, axis);
  const own = values[index] ?? null;
  if (own === null) return null;
  let [place, of] = [1, 0];
  for (const value of values) {
    if (value === null) continue;
    of++;
    if (value > own) place++;
  }
  return { place, of };
}

/**
 * The measures that tell most about a head: those it is named for, then where its lower bound lies highest above the best
 * baseline.
 */
export function telling(atlas: Atlas, index: number, count: number): string[] {
  const head = addressOf(index, atlas.model.n_head);
  const roles = rolesOf(atlas.roles, head);
  const lead = (measure: string): number => {
    const { low, baselines } = atlas.measures[measure]!;
    return (low[index] ?? -Infinity) - Math.max(0, ...Object.values(baselines).map(({ value }) => value));
  };
  const others = Object.keys(atlas.measures)
    .filter((measure) => !roles.includes(measure) && atlas.measures[measure]!.value[index] !== null)
    .map((measure) => [measure, lead(measure)] as const)
    .sort((a, b) => b[1] - a[1])
    .map(([measure]) => measure);
  return [...roles, ...others.slice(0, Math.max(0, count - roles.length))];
}

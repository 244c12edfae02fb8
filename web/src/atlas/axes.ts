/** What a head can be placed, coloured and ranked by: its layer, a measure, or a quantity (`sum:NAME`). */
import type { Atlas, Baseline, Numbers } from './data';

export const LAYER = 'layer';
const SUM = 'sum:';

export interface Groups {
  roles: string[];
  measures: string[];
  sums: string[];
}

/** All axes there are: the measures that heads are named for first, then the others, then the quantities. */
export function axesOf(atlas: Atlas): Groups {
  const roles = atlas.roles.map(({ role }) => role);
  const measures = Object.keys(atlas.measures).filter((measure) => !roles.includes(measure));
  return { roles, measures, sums: Object.keys(atlas.sums).map((name) => SUM + name) };
}

/** The name of a quantity's axis without its prefix; null for the others. */
export function sumOf(axis: string): string | null {
  return axis.startsWith(SUM) ? axis.slice(SUM.length) : null;
}

export function isAxis(atlas: Atlas, axis: string): boolean {
  const sum = sumOf(axis);
  return axis === LAYER || (sum === null ? Object.hasOwn(atlas.measures, axis) : Object.hasOwn(atlas.sums, sum));
}

/** One number per head; null where there is none. A measure's is the one on the documents reported on. */
export function valuesOf(atlas: Atlas, axis: string): Numbers {
  const { n_layer, n_head } = atlas.model;
  if (axis === LAYER) return Array.from({ length: n_layer * n_head }, (_, head) => Math.floor(head / n_head));
  const sum = sumOf(axis);
  return (sum === null ? atlas.measures[axis]?.value : atlas.sums[sum]?.mean) ?? [];
}

/** What scores that without looking at the model. Only measures have it. */
export function baselinesOf(atlas: Atlas, axis: string): [name: string, baseline: Baseline][] {
  return sumOf(axis) === null ? Object.entries(atlas.measures[axis]?.baselines ?? {}) : [];
}

/** Where to begin: the token before against antecedents, if both were measured; else the first role over the layers. */
export function firstAxes(atlas: Atlas): { x: string; y: string; colour: string; order: string } {
  const first = atlas.roles[0]?.role ?? Object.keys(atlas.measures)[0] ?? axesOf(atlas).sums[0] ?? LAYER;
  const both = ['position:previous', 'coreference'].every((measure) => Object.hasOwn(atlas.measures, measure));
  if (both) return { x: 'position:previous', y: 'coreference', colour: LAYER, order: 'coreference' };
  return { x: LAYER, y: first, colour: first, order: first };
}

export interface Scale {
  from: number;
  to: number;
  ticks: number[];
}

/** A scale with round ends and about so many steps, over all numbers and baselines of an axis. */
export function scaleOf(atlas: Atlas, axis: string, steps = 5): Scale {
  const values = valuesOf(atlas, axis).filter((value) => value !== null);
  const all = [...values, ...baselinesOf(atlas, axis).flatMap(([, { value, high }]) => [value, high])];
  if (axis === LAYER) return niceScale(0, Math.max(1, atlas.model.n_layer - 1), steps, 1);
  let least = Infinity;
  let most = -Infinity;
  for (const value of all) [least, most] = [Math.min(least, value), Math.max(most, value)];
  if (most < least) return { from: 0, to: 1, ticks: [0, 1] };
  return niceScale(Math.min(0, least), Math.max(most, 0), steps);
}

function niceScale(least: number, most: number, steps: number, smallest = 0): Scale {
  const span = most - least || 1;
  const power = 10 ** Math.floor(Math.log10(span / steps));
  const step = Math.max(smallest, [1, 2, 5, 10].map((times) => times * power).find((size) => span / size <= steps) ?? span);
  const [first, last] = [Math.floor(least / step + 1e-9), Math.ceil(most / step - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { from: ticks[0]!, to: ticks.at(-1)!, ticks };
}

/** A number's place on a scale, from 0 to 1. */
export function at({ from, to }: Scale, value: number): number {
  return to === from ? 0.5 : (value - from) / (to - from);
}

/** Numbers of the atlas as the page prints them. */
import { significant, signed } from '../core/format';
import { LAYER, sumOf } from './axes';

/** A share of hits in three digits, a quantity in three significant ones, a layer whole. */
export function figure(axis: string, value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (axis === LAYER) return String(value);
  return sumOf(axis) === null ? signed(value, 3) : significant(value, 3);
}

/** A tick of a scale. */
export function tick(value: number): string {
  return Math.abs(value) >= 1000 ? `${significant(value / 1000, 3)}k` : significant(value, 3);
}

export function thousands(count: number): string {
  return count.toLocaleString('en-US');
}

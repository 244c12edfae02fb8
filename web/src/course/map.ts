/** The course map: modules, what each needs, and where each stands in the drawing. */

import type { Art } from '../lesson/format';

export interface Module {
  module: string;
  title: string;
  needs: string[];
  /** In this edition; the others are named only. */
  here: boolean;
  promise?: string;
  minutes?: number;
  narrated?: boolean;
  /** Drawn on it. */
  card?: Art | null;
}

export interface CourseMap {
  modules: Module[];
}

/** A module's place: columns from left to right by what it stands on, rows from the top. */
export interface Placed extends Module {
  column: number;
  row: number;
}

/** Every module one column behind the last of those it needs; within a column in the order of the map. */
export function place(modules: Module[]): Placed[] {
  const known = new Map(modules.map((module) => [module.module, module]));
  const columns = new Map<string, number>();
  const columnOf = (name: string, above: string[]): number => {
    const needs = known.get(name)?.needs.filter((need) => known.has(need) && !above.includes(need)) ?? [];
    const column = columns.get(name) ?? Math.max(-1, ...needs.map((need) => columnOf(need, [...above, name]))) + 1;
    columns.set(name, column);
    return column;
  };
  const rows: number[] = [];
  return modules.map((module) => {
    const column = columnOf(module.module, []);
    rows[column] = (rows[column] ?? -1) + 1;
    return { ...module, column, row: rows[column]! };
  });
}

/** In the order in which they can be walked: by column, then by row. */
export function walk(placed: Placed[]): Placed[] {
  return [...placed].sort((one, other) => one.column - other.column || one.row - other.row);
}

/** Undo and redo of edits: every step keeps the list as it was. The text has the text area's own undo. */

import type { EditItem } from './core/edits';

const KEPT = 200;

export class History {
  #undone: EditItem[][] = $state.raw([]);
  #done: EditItem[][] = $state.raw([]);
  #joined: unknown = undefined;
  canUndo = $derived(this.#done.length > 0);
  canRedo = $derived(this.#undone.length > 0);

  /** Remember the list before a change. Changes in a row with the same `join` (a slider's) are one step. */
  push(before: EditItem[], join?: unknown): void {
    const joins = join !== undefined && join === this.#joined;
    this.#joined = join;
    if (joins) return;
    this.#done = [...this.#done.slice(1 - KEPT), before];
    this.#undone = [];
  }

  undo(now: EditItem[]): EditItem[] {
    return this.#move(now, true);
  }

  redo(now: EditItem[]): EditItem[] {
    return this.#move(now, false);
  }

  clear(): void {
    this.#done = [];
    this.#undone = [];
  }

  #move(now: EditItem[], back: boolean): EditItem[] {
    const from = back ? this.#done : this.#undone;
    const list = from.at(-1);
    if (list === undefined) return now;
    this.#joined = undefined;
    if (back) [this.#done, this.#undone] = [from.slice(0, -1), [...this.#undone, now]];
    else [this.#undone, this.#done] = [from.slice(0, -1), [...this.#done, now]];
    return list;
  }
}

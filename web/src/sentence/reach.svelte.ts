/** A drag from the query to the token that becomes the key of interest. */
import { lab } from '../store.svelte';
import type { Layout } from './layout.svelte';

export class Reach {
  /** Where the pointer is, across the editor; null between drags. */
  x: number | null = $state(null);
  #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  take(event: PointerEvent): void {
    event.preventDefault();
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
  }

  pull(event: PointerEvent): void {
    if (!(event.currentTarget as HTMLElement).hasPointerCapture(event.pointerId)) return;
    this.x = event.clientX - this.#layout.editor!.getBoundingClientRect().left;
    this.#layout.reached = this.#layout.tokenAt(event.clientX, event.clientY) ?? this.#above(this.x);
  }

  drop(): void {
    if (this.#layout.reached !== null && this.x !== null) lab.lookAt(this.#layout.reached);
    this.cancel();
  }

  cancel(): void {
    [this.x, this.#layout.reached] = [null, null];
  }

  /** The token over which the pointer is, somewhere in the arcs. */
  #above(x: number): number | null {
    const token = this.#layout.boxes?.findIndex((box) => box && x >= box.left && x < box.right) ?? -1;
    return token < 0 ? null : token;
  }
}

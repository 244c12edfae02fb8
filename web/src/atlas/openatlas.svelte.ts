/** The atlas of the model that is open in the playground: which, what of it is shown, and its numbers once they are here. */
import { lab } from '../store.svelte';
import { axesOf, firstAxes, isAxis, LAYER, scaleOf, valuesOf } from './axes';
import type { Atlas, AtlasRow } from './data';

class OpenAtlas {
  row: AtlasRow | null = $derived(lab.atlas?.row ?? null);
  #held: { id: string; summary: Atlas } | null = $state.raw(null);
  #axis: string | null = $state(null);
  error: string | null = $state(null);
  #asked: string | null = null;

  summary: Atlas | null = $derived(this.row && this.#held?.id === this.row.id ? this.#held.summary : null);
  axis: string = $derived.by(() => {
    if (!this.summary) return LAYER;
    return this.#axis !== null && isAxis(this.summary, this.#axis) ? this.#axis : firstAxes(this.summary).order;
  });
  /** One number per head, NaN where there is none; null until they are here. */
  values: Float64Array | null = $derived(this.summary ? Float64Array.from(valuesOf(this.summary, this.axis), (value) => value ?? NaN) : null);
  /** Where the scale of the colours ends. */
  end: number = $derived(this.summary ? scaleOf(this.summary, this.axis).to : 1);

  get axes() {
    return this.summary ? axesOf(this.summary) : null;
  }

  choose(axis: string): void {
    this.#axis = axis;
  }

  /** Bring the numbers, once. */
  ask(): void {
    const id = this.row?.id ?? null;
    if (id === null || id === this.#asked) return;
    this.#asked = id;
    this.error = null;
    lab.server.askAtlas(id, (summary, error) => {
      if (summary) this.#held = { id, summary };
      else [this.error, this.#asked] = [error, null];
    });
  }
}

export const openAtlas = new OpenAtlas();

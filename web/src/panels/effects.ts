/** What colours the heads by their effect on the tracked answer: now and, where edits act, before them. */
import { ablationEffects, reach } from '../core/ranking';
import type { Lab } from '../store.svelte';

export interface EffectsShown {
  /** One for each head; NaN where it is still to come. */
  now: ArrayLike<number>;
  before: ArrayLike<number> | null;
  /** A change of more than this is worth a dashed mark. */
  worth: number;
}

/** That is this part of the largest effect. */
const MOVED = 0.05;

/** Direct effects, or those of the ablations; null where the heads are coloured by something else, or nothing has come. */
export function effectsShown({ colour, info, effect, ablated, ablatedBefore }: Lab): EffectsShown | null {
  if (colour === 'effect') return effect && withWorth(effect.direct, effect.before?.direct ?? null);
  if (colour !== 'ablation' || !info) return null;
  const of = (known: typeof ablated) => ablationEffects(known, info.n_layer, info.n_head);
  return withWorth(of(ablated), ablatedBefore.size > 0 ? of(ablatedBefore) : null);
}

function withWorth(now: ArrayLike<number>, before: ArrayLike<number> | null): EffectsShown {
  return { now, before, worth: before ? MOVED * Math.max(reach(now), reach(before)) : 0 };
}

/** Do the edits change this head's effect by enough to show? Not while one of the two is still to come. */
export function moved({ now, before, worth }: EffectsShown, head: number): boolean {
  return before !== null && Math.abs(now[head]! - before[head]!) > worth;
}

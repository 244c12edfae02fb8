/** Which heads to look at first, out of hundreds. Heads are indices, layer · n_head + head. */
import { layerAndHead } from './address';
import { strongest } from './view';

/**
 * A few heads that show something for this text: the strongest by where they land beside the sink and the token itself,
 * one from a layer and at most two that land on the same token, so that they do not all show the same.
 */
export function startHere(landWeight: Float32Array, landKey: ArrayLike<number>, n_head: number, count: number): number[] {
  const layers = new Set<number>();
  const landed = new Map<number, number>();
  const chosen: number[] = [];
  for (const head of strongest(landWeight, landWeight.length)) {
    const layer = Math.floor(head / n_head);
    const times = landed.get(landKey[head]!) ?? 0;
    if (landKey[head]! < 0 || layers.has(layer) || times === 2) continue;
    layers.add(layer);
    landed.set(landKey[head]!, times + 1);
    if (chosen.push(head) === count) break;
  }
  return chosen.sort((a, b) => a - b);
}

/** How many heads put most of their weight on the first token. */
export function sinkCount(topKey: ArrayLike<number>): number {
  let count = 0;
  for (let head = 0; head < topKey.length; head++) if (topKey[head] === 0) count++;
  return count;
}

/** The effects known so far, one per head; NaN where the ablation is still to come. */
export function ablationEffects(known: ReadonlyMap<string, { effect: number }>, n_layer: number, n_head: number): Float64Array {
  const effects = new Float64Array(n_layer * n_head).fill(NaN);
  for (const [address, { effect }] of known) {
    const [layer, head] = layerAndHead(address);
    effects[layer * n_head + head] = effect;
  }
  return effects;
}

/** The largest size, NaN left out: the end of a scale that reaches as far on both sides of 0. */
export function reach(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (Math.abs(values[i]!) > most) most = Math.abs(values[i]!);
  return most;
}

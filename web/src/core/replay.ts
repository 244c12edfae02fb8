/** A head's arrays after edits, from those before them, without the model: exact where nothing below the head changes. */
import { aim } from './aim';
import { kvAddress, layerAndHead } from './address';
import { scopeOf } from './edits';
import { headModel, visibleKeys, writeLength, type Acting, type HeadArrays } from './mechanism';
import type { ModelInfo } from './protocol';

/** Why an edit is out of reach: it changes what comes from below, mixes other heads in, or needs a mean not at hand. */
export type Beyond = 'below' | 'shared' | 'mean';

/** Null where this head's own arrays are enough. Edits above it change nothing in it. */
export function beyond(edit: Acting, address: string, { n_layer }: ModelInfo, hasMean: boolean): Beyond | null {
  const [layer] = layerAndHead(address);
  const { first, last } = scopeOf(edit, n_layer);
  if (first < layer) return 'below';
  if (edit.kind === 'share-kv' && first <= layer && layer <= last) return 'shared';
  return edit.kind === 'ablate' && edit.to === 'mean' && !hasMean ? 'mean' : null;
}

/** The arrays with the edits of k, v and q, in the order of the forward pass; `attendRow` does those of pairs, scores and z. */
export function replay(before: HeadArrays, edits: readonly Acting[], address: string, info: ModelInfo): HeadArrays {
  const d = info.d_head;
  const kv = kvAddress(address, info);
  const k = before.k.slice();
  const v = before.v.slice();
  const q = before.q.slice();
  for (const edit of edits) if (edit.kind === 'shift-key' && edit.kv_head === kv) add(k, edit.token * d, edit.shift, edit.strength);
  for (const edit of edits) {
    if (edit.kind !== 'swap-value' || edit.kv_head !== kv) continue;
    const wide = info.d_value;
    const [from, to] = [edit.source * wide, edit.token * wide];
    const source = v.slice(from, from + wide);
    for (let i = 0; i < wide; i++) v[to + i]! += edit.strength * (source[i]! - v[to + i]!);
  }
  for (const edit of edits) {
    if (edit.kind === 'shift-query' && edit.head === address) add(q, edit.query * d, edit.shift, edit.strength);
    if (edit.kind === 'aim-query' && edit.head === address) add(q, edit.query * d, aimed(edit, q, k, address, info), edit.strength);
  }
  return { ...before, q, k, v, valueLengths: lengthsOf(v, before.gram, info.d_value) };
}

function aimed({ query, key, margin }: Extract<Acting, { kind: 'aim-query' }>, q: Float32Array, k: Float32Array, address: string, info: ModelInfo) {
  const d = info.d_head;
  const span = visibleKeys(query, k.length / d, headModel(info, address));
  return aim(q.subarray(query * d, (query + 1) * d), k, span, key, info.scale, margin);
}

function add(rows: Float32Array, at: number, shift: ArrayLike<number>, strength: number): void {
  for (let i = 0; i < shift.length; i++) rows[at + i]! += strength * shift[i]!;
}

/** |v_j W_o|, [key]. */
function lengthsOf(v: Float32Array, gram: Float32Array, d: number): Float32Array {
  return Float32Array.from({ length: v.length / d }, (_, j) => writeLength(v.subarray(j * d, (j + 1) * d), gram));
}

/**
 * THE EQUATIONS, for one head and one query: score, mask, softmax, blend, write, and the edits between them.
 * The same arithmetic as qkvlab/mechanism.py and qkvlab/edits/, in float64 over float32 arrays; golden files hold
 * the two together. Arrays are row-major: q, k and v are [key, d_head].
 */
import { layerAndHead } from './address';
import type { Edit, EditOf, ModelInfo, Rotation } from './protocol';
import { turn } from './rotation';

export type Floats = Float32Array | Float64Array;
export type Acting = Edit<number>;

/** What a query may see: keys after it or not, and how many before it. */
export interface Mask {
  causal: boolean;
  /** The sliding window of the head's layer, or null. */
  window: number | null;
}

/** What the equations need to know of a head. */
export interface HeadModel extends Mask {
  layer: number;
  head: number;
  scale: number;
  rotation: Rotation | null;
}

/** What some families have between q · k and the weights, besides scale and mask. */
export interface HeadRule {
  /** s becomes c · tanh(s / c). */
  softcap: number | null;
  /** A score that takes its share of the weights and hands over nothing. */
  sink: number | null;
  /** Added to the score by key, [key]. */
  keyBias: Float32Array | null;
  /** Added by key - query, [2 key - 1]; the middle is the query itself. */
  distanceBias: Float32Array | null;
}

/** One head's arrays, after the edits of arrays and before those of pairs, scores and z. */
export interface HeadArrays {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  /** |v_j W_o|, [key]. */
  valueLengths: Float32Array;
  /** W_o W_oᵀ, [d_head, d_head]. */
  gram: Float32Array;
  /** The head's mean z over the reference text, where an ablation to the mean needs it. */
  meanZ: Float32Array | null;
  /** Null in most families. */
  rule: HeadRule | null;
}

/** A drag in progress: what it adds to the query's q, or to one key. */
export interface Drag {
  q?: Floats;
  key?: { index: number; shift: Floats };
}

/** Everything the bench shows for one query. */
export interface Row {
  /** The query and the keys as they enter the scores: [d_head], [key, d_head]. */
  q: Floats;
  k: Floats;
  /** -Infinity where hidden. */
  scores: Float64Array;
  weights: Float64Array;
  z: Float64Array;
  /** |z W_o|. */
  writeLength: number;
  /** Each key's |weight · v W_o| as a share of their sum, times what ablations leave of the blend. */
  shares: Float64Array;
}

/** The mechanism is asked for something it was not given. */
export class MechanismError extends Error {
  override name = 'MechanismError';
}

export function headModel(model: ModelInfo, address: string): HeadModel {
  const [layer, head] = layerAndHead(address);
  const window = model.windowed_layers.includes(layer) ? model.window : null;
  return { layer, head, scale: model.scale, causal: model.causal, window, rotation: model.rotation };
}

// ---- score, mask, softmax, blend, write

export function dot(a: Floats, b: Floats, at = 0): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[at + i]!;
  return sum;
}

/** The keys that a query can see: from `first` to before `last`. */
export function visibleKeys(query: number, n: number, { causal, window }: Mask): { first: number; last: number } {
  const first = window === null ? 0 : Math.max(0, query - window + 1);
  return { first, last: causal ? query + 1 : window === null ? n : Math.min(n, query + window) };
}

/** How well does each key answer this query? q · k_j · scale, by the head's rule; -Infinity where it may not look. */
export function scoreRow(
  q: Floats,
  k: Floats,
  scale: number,
  query: number,
  mask: Mask,
  rule: HeadRule | null = null,
): Float64Array {
  const n = k.length / q.length;
  const scores = new Float64Array(n).fill(-Infinity);
  const { first, last } = visibleKeys(query, n, mask);
  for (let j = first; j < last; j++) scores[j] = dot(q, k, j * q.length) * scale;
  return rule ? ruled(scores, query, rule) : scores;
}

function ruled(scores: Float64Array, query: number, { softcap, keyBias, distanceBias }: HeadRule): Float64Array {
  return scores.map((score, j) => {
    if (score === -Infinity) return score;
    const capped = softcap === null ? score : softcap * Math.tanh(score / softcap);
    return capped + (keyBias?.[j] ?? 0) + (distanceBias?.[j - query + scores.length - 1] ?? 0);
  });
}

/** Scores as shares, a sink's left out; a row without any visible key gets zeros. */
export function softmax(scores: Float64Array, sink = -Infinity): Float64Array {
  const top = scores.reduce((a, b) => Math.max(a, b), sink);
  if (top === -Infinity) return new Float64Array(scores.length);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = weights.reduce((a, b) => a + b, Math.exp(sink - top));
  return weights.map((weight) => weight / total);
}

/** z: the values, mixed by the weights. */
export function blend(weights: Float64Array, v: Floats): Float64Array {
  const d = v.length / weights.length;
  const z = new Float64Array(d);
  weights.forEach((weight, j) => {
    if (weight !== 0) for (let i = 0; i < d; i++) z[i]! += weight * v[j * d + i]!;
  });
  return z;
}

/** |z W_o| = √(z G zᵀ), with G = W_o W_oᵀ. */
export function writeLength(z: Floats, gram: Floats): number {
  let square = 0;
  for (let i = 0; i < z.length; i++) square += z[i]! * dot(z, gram, i * z.length);
  return Math.sqrt(Math.max(0, square));
}

// ---- edits

/** Does the edit act within this head, on its pairs, scores or z? */
export function reaches<T>(edit: Edit<T>, layer: number, head: number): boolean {
  return 'where' in edit && (edit.where === 'all' || edit.where === `${layer}` || edit.where === `${layer}.${head}`);
}

/** All queries and keys of a head after a tie or a stopped rotation. */
export function editPair(
  q: Floats,
  k: Floats,
  d: number,
  edit: EditOf<'tie' | 'stop-rotation', number>,
  rotation: Rotation | null,
): [q: Floats, k: Floats] {
  if (edit.kind === 'tie') return [q, mix(k, q, edit.strength)];
  if (!rotation) throw new MechanismError('stop-rotation: this model does not rotate its queries and keys');
  return [mix(q, unrotated(q, d, rotation), edit.strength), mix(k, unrotated(k, d, rotation), edit.strength)];
}

/** The scores of one query after a mute, a strengthened pair or a temperature. */
export function editScores(scores: Float64Array, edit: Acting, query: number): Float64Array {
  const edited = scores.slice();
  if (edit.kind === 'mute' && (edit.query === null || edit.query === query)) {
    edited[edit.key]! += edit.strength < 1 ? Math.log1p(-edit.strength) : -Infinity;
  } else if (edit.kind === 'strengthen' && edit.query === query) {
    edited[edit.key]! += edit.strength * edit.amount;
  } else if (edit.kind === 'scale-scores') {
    const factor = 1 + edit.strength * (edit.factor - 1);
    return edited.map((score) => (Number.isFinite(score) ? score * factor : score));
  }
  return edited;
}

/** z after an ablation: to zero, to the head's mean, or to a given vector. */
export function editBlend(z: Float64Array, edit: EditOf<'ablate', number>, meanZ: Floats | null): Float64Array {
  if (edit.to === 'mean' && !meanZ) throw new MechanismError("ablate: the head's mean z is not known");
  const target = edit.to === 'mean' ? meanZ! : edit.to === 'zero' ? new Float64Array(z.length) : edit.to;
  return z.map((before, i) => before + edit.strength * (target[i]! - before));
}

// ---- all of it

/** What one query sees, step by step: scores, weights, z, the size of the write and each key's share of it. */
export function attendRow(
  arrays: HeadArrays,
  model: HeadModel,
  edits: readonly Acting[],
  query: number,
  drag: Drag = {},
): Row {
  const acting = edits.filter((edit) => reaches(edit, model.layer, model.head));
  const { q, k } = pairOf(arrays, model, acting, query, drag);
  const scores = acting.reduce(
    (before, edit) => editScores(before, edit, query),
    scoreRow(q, k, model.scale, query, model, arrays.rule),
  );
  const weights = softmax(scores, arrays.rule?.sink ?? -Infinity);
  const ablations = acting.filter((edit) => edit.kind === 'ablate');
  const z = ablations.reduce((before, edit) => editBlend(before, edit, arrays.meanZ), blend(weights, arrays.v));
  const left = ablations.reduce((product, edit) => product * (1 - edit.strength), 1);
  const shares = sharesOf(weights, arrays.valueLengths, left);
  return { q, k, scores, weights, z, writeLength: writeLength(z, arrays.gram), shares };
}

/** The scores of a query with every key, the mask left out: a number the model itself never uses. */
export function unmaskedScores(
  arrays: HeadArrays,
  model: HeadModel,
  edits: readonly Acting[],
  query: number,
): Float64Array {
  const acting = edits.filter((edit) => reaches(edit, model.layer, model.head));
  const { q, k } = pairOf(arrays, model, acting, query, {});
  const plain = scoreRow(q, k, model.scale, query, { causal: false, window: null }, arrays.rule);
  return acting.reduce((before, edit) => editScores(before, edit, query), plain);
}

/** The query's q, [d_head], and all keys, [key, d_head], as they enter the scores. */
function pairOf(
  arrays: HeadArrays,
  model: HeadModel,
  acting: readonly Acting[],
  query: number,
  drag: Drag,
): { q: Floats; k: Floats } {
  const d = arrays.q.length / arrays.valueLengths.length;
  const row = (rows: Floats) => rows.subarray(query * d, (query + 1) * d);
  const pairs = acting.filter((edit) => edit.kind === 'tie' || edit.kind === 'stop-rotation');
  let k: Floats = drag.key ? added(arrays.k, drag.key.index * d, drag.key.shift) : arrays.k;
  if (pairs.length === 0) return { q: drag.q ? added(row(arrays.q), 0, drag.q) : row(arrays.q), k };
  let q: Floats = drag.q ? added(arrays.q, query * d, drag.q) : arrays.q;
  for (const edit of pairs) [q, k] = editPair(q, k, d, edit, model.rotation);
  return { q: row(q), k };
}

function added(rows: Floats, at: number, shift: Floats): Float64Array {
  const moved = Float64Array.from(rows);
  shift.forEach((by, i) => (moved[at + i]! += by));
  return moved;
}

function mix(before: Floats, after: Floats, strength: number): Floats {
  if (strength === 1) return after;
  return Float64Array.from(before, (x, i) => x + strength * (after[i]! - x));
}

/** Every row turned back by its position's angle; the stretch of scaled rotations stays. */
function unrotated(rows: Floats, d: number, rotation: Rotation): Float64Array {
  const still = new Float64Array(rows.length);
  for (let at = 0; at < rows.length; at += d) turn(rows.subarray(at, at + d), -at / d, 1, rotation, still, at);
  return still;
}

function sharesOf(weights: Float64Array, valueLengths: Floats, left: number): Float64Array {
  const shares = weights.map((weight, j) => weight * valueLengths[j]!);
  const total = shares.reduce((a, b) => a + b, 0);
  return total === 0 ? shares : shares.map((share) => (share / total) * left);
}

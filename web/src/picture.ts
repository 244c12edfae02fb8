/** What the server answered for one text and its edits, put together so that a panel never mixes two of them. */

import { rangesFromWire, type Range } from './core/anchors';
import { type HeadArrays } from './core/mechanism';
import type { Edit, HeadReply, Part, Reply, ReplyOf, TokensReply } from './core/protocol';
import { floats, type Tensors } from './core/safetensors';

/** One head's arrays, with and without the edits. */
export interface OpenHead {
  reply: HeadReply;
  arrays: HeadArrays;
  before: HeadArrays;
  /** What W_q multiplies at the query, [d_model]. */
  x: Float32Array;
}

/** How every query sees the query's token as a key, [query]. */
export interface Found {
  query: number;
  scores: Float32Array;
  weights: Float32Array;
  before: Float32Array | null;
}

/** Per head, [layer · n_head + head]: where the query looks. */
export interface Looks {
  topKey: Int32Array;
  topWeight: Float32Array;
  /** Before the edits; null without any. */
  topKeyBefore: Int32Array | null;
  topWeightBefore: Float32Array | null;
  landKey: Int32Array;
  landWeight: Float32Array;
  pairScore: Float32Array | null;
  pairWeight: Float32Array | null;
  pairWeightBefore: Float32Array | null;
}

/** Every head's weights, quantised: [layer, head, row, column], 255 is 1. */
export interface Overview {
  stamps: Uint8Array;
  rows: number[];
  columns: number[];
}

export interface Raw {
  q: Float32Array;
  k: Float32Array;
}

export interface Picture {
  /** The text it speaks of; the text area may be ahead of it. */
  text: string;
  tokens: TokensReply;
  /** Where each token stands, in UTF-16 units. */
  ranges: Range[];
  /** The ids of the edits that were sent, in the order of `tokens.edits`. */
  sent: number[];
  acting: Edit<number>[];
  open: OpenHead | null;
  pinned: OpenHead | null;
  raw: Raw | null;
  found: Found | null;
  looks: Looks | null;
  overview: Overview | null;
  prediction: ReplyOf<'prediction'> | null;
  words: ReplyOf<'words'> | null;
  unchanged: number[];
  /** The tokens that a part speaks of; they are not the picture's while the part is still the one before. */
  of: Partial<Record<Part, TokensReply>>;
}

/** A new picture on these tokens. Parts that are not asked for again still hold, and come from the one before. */
export function begin(text: string, tokens: TokensReply, sent: number[], before: Picture | null, asked: readonly Part[] = []): Picture {
  const known = Object.entries(before?.of ?? {}) as [Part, TokensReply][];
  return {
    ...(before ?? { open: null, pinned: null, raw: null, found: null, looks: null, overview: null }),
    ...{ prediction: before?.prediction ?? null, words: before?.words ?? null, unchanged: [] },
    text,
    tokens,
    ranges: rangesFromWire(tokens.offsets, text),
    sent,
    of: Object.fromEntries(known.map(([part, of]) => [part, asked.includes(part) ? of : tokens])),
    acting: tokens.edits.filter((edit) => edit !== null),
  };
}

/** The picture with other words for the same tokens. */
export function withTokens(picture: Picture, tokens: TokensReply): Picture {
  const known = Object.entries(picture.of) as [Part, TokensReply][];
  return { ...picture, tokens, of: Object.fromEntries(known.map(([part, of]) => [part, of === picture.tokens ? tokens : of])) };
}

export function readHead(reply: HeadReply, tensors: Tensors): OpenHead {
  const shared = {
    valueLengths: floats(tensors, 'value_lengths'),
    gram: floats(tensors, 'gram'),
    meanZ: tensors.has('mean_z') ? floats(tensors, 'mean_z') : null,
    rule: reply.rule && {
      ...reply.rule,
      keyBias: tensors.has('key_bias') ? floats(tensors, 'key_bias') : null,
      distanceBias: tensors.has('distance_bias') ? floats(tensors, 'distance_bias') : null,
    },
  };
  const [q, k, v] = ['q', 'k', 'v'].map((name) => floats(tensors, name)) as [Float32Array, Float32Array, Float32Array];
  const old = (name: string, now: Float32Array) => (tensors.has(name) ? floats(tensors, name) : now);
  const before = { q: old('q_before', q), k: old('k_before', k), v: old('v_before', v), ...shared };
  return { reply, arrays: { q, k, v, ...shared }, before, x: floats(tensors, 'x') };
}

export function readFound(query: number, tensors: Tensors): Found {
  const before = tensors.has('weights_before') ? floats(tensors, 'weights_before') : null;
  return { query, scores: floats(tensors, 'scores'), weights: floats(tensors, 'weights'), before };
}

export function readLooks(tensors: Tensors): Looks {
  const optional = (name: string) => (tensors.has(name) ? floats(tensors, name) : null);
  return {
    topKey: tensors.get('top_key')!.data as Int32Array,
    topWeight: floats(tensors, 'top_weight'),
    topKeyBefore: (tensors.get('top_key_before')?.data as Int32Array | undefined) ?? null,
    topWeightBefore: optional('top_weight_before'),
    landKey: tensors.get('land_key')!.data as Int32Array,
    landWeight: floats(tensors, 'land_weight'),
    pairScore: optional('pair_score'),
    pairWeight: optional('pair_weight'),
    pairWeightBefore: optional('pair_weight_before'),
  };
}

/** What a part of an answer changes of a picture whose open head is this one; null for a part that it does not hold. */
export function readPart(reply: Reply, tensors: Tensors, picture: Picture, openHead: string): Partial<Picture> | null {
  if (reply.part === 'head') return { [reply.head === openHead ? 'open' : 'pinned']: readHead(reply, tensors) };
  if (reply.part === 'raw') return { raw: { q: floats(tensors, 'q_raw'), k: floats(tensors, 'k_raw') } };
  if (reply.part === 'found') return { found: readFound(picture.tokens.query ?? 0, tensors) };
  if (reply.part === 'heads') return { looks: readLooks(tensors) };
  if (reply.part === 'prediction') return { prediction: reply };
  if (reply.part === 'words') return { words: reply };
  if (reply.part !== 'overview') return null;
  return { overview: { stamps: tensors.get('stamps')!.data as Uint8Array, rows: reply.rows, columns: reply.columns } };
}

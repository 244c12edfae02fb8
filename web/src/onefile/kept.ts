/** What a file of one head holds: the state, the model's answers to it, and the head's exact arrays. */
import type { LaneFields, HeadReply, ModelInfo, PredictionReply, TokensReply, WordsReply } from '../core/protocol';
import type { Shared } from '../core/linkcheck';
import type { HeadArrays } from '../core/mechanism';
import { readSafetensors, SafetensorsError, writeSafetensors, type Tensor, type Tensors } from '../core/safetensors';
import { readHead, type OpenHead } from '../picture';

export interface Kept {
  /** Of what is held here; a reader of another one does not read it. */
  format: 1;
  /** Of the program that wrote it. */
  version: string;
  /** The day it was saved, 2026-11-24. */
  saved: string;
  state: Shared;
  view: { hideFirst: boolean; principal: boolean; byPair: boolean };
  info: ModelInfo;
  tokens: TokensReply;
  head: HeadReply;
  prediction: PredictionReply | null;
  words: WordsReply | null;
}

/** Everything of a file, as its page reads it. */
export interface Opened {
  kept: Kept;
  open: OpenHead;
}

export type ViewFields = LaneFields['view'];

const FORMAT = 1;

export function pack(kept: Kept, open: OpenHead): ArrayBuffer {
  return writeSafetensors({ kept: JSON.stringify(kept) }, headTensors(open.arrays, open.before, kept.info));
}

/** Raises SafetensorsError for bytes that `pack` did not write. */
export function unpack(bytes: ArrayBuffer): Opened {
  const { metadata, tensors } = readSafetensors(bytes);
  const kept = JSON.parse(String(metadata['kept'])) as Kept;
  if (kept.format !== FORMAT) throw new SafetensorsError(`the file holds format ${String(kept.format)}; expected ${FORMAT}`);
  return { kept, open: readHead(kept.head, tensors) };
}

/** A head's arrays as the server sends them. Those before the edits only where they differ; no x, which nothing here reads. */
export function headTensors(now: HeadArrays, before: HeadArrays, sizes: { d_head: number; d_value: number }): Tensors {
  const tensors: Tensors = new Map([['x', tensor(new Float32Array(0))]]);
  for (const name of ['q', 'k', 'v'] as const) {
    const d = name === 'v' ? sizes.d_value : sizes.d_head;
    tensors.set(name, tensor(now[name], d));
    if (!same(now[name], before[name])) tensors.set(`${name}_before`, tensor(before[name], d));
  }
  tensors.set('value_lengths', tensor(now.valueLengths));
  tensors.set('gram', tensor(now.gram, sizes.d_value));
  if (now.rule?.keyBias) tensors.set('key_bias', tensor(now.rule.keyBias));
  if (now.rule?.distanceBias) tensors.set('distance_bias', tensor(now.rule.distanceBias));
  if (now.meanZ) tensors.set('mean_z', tensor(now.meanZ));
  return tensors;
}

export function tensor(data: Float32Array, width?: number): Tensor {
  return { dtype: 'F32', shape: width === undefined ? [data.length] : [data.length / width, width], data };
}

function same(a: Float32Array, b: Float32Array): boolean {
  return a === b || (a.length === b.length && a.every((x, i) => Object.is(x, b[i])));
}

// ---- as text, within a page

export function toBase64(bytes: ArrayBuffer): string {
  const all = new Uint8Array(bytes);
  let binary = '';
  for (let at = 0; at < all.length; at += 0x8000) binary += String.fromCharCode(...all.subarray(at, at + 0x8000));
  return btoa(binary);
}

export function fromBase64(text: string): ArrayBuffer {
  return Uint8Array.from(atob(text.trim()), (char) => char.charCodeAt(0)).buffer;
}

/** Heads switched off together, where no server runs: one recording answers every set of a layer's heads (docs/course.md). */
import { layerAndHead } from '../core/address';
import type { Edit, PredictionRow, Reply, TokensReply } from '../core/protocol';
import { floats, type Tensors } from '../core/safetensors';
import { recordingName, type Answer } from './recordings';

/** The table that answers a view of a prediction without some heads of one layer. */
export interface Place {
  name: string;
  /** The number of their set: bit h stands for head h. */
  set: number;
}

interface Table {
  tokens: TokensReply;
  /** The most probable words before, and those that are followed. */
  earlier: number[];
  tracked: number[];
  /** Of `ids`. */
  words: string[];
}

/** Null for any other request. */
export function placeOf(lane: string, fields: object): Place | null {
  const { edits = [], parts = [] } = fields as { edits?: Edit[]; parts?: string[] };
  let [set, layer]: [number, number | null] = [0, null];
  for (const edit of edits) {
    if (edit.kind !== 'ablate' || edit.to !== 'zero' || edit.strength !== 1) return null;
    const [at, head] = layerAndHead(edit.where);
    if (at !== (layer ?? at)) return null;
    [set, layer] = [set | (1 << head), at];
  }
  if (layer === null || lane !== 'view' || parts.join() !== 'prediction') return null;
  return { name: recordingName(lane, { ...fields, edits: [], switched: layer }), set };
}

/** What the server answers without this set of heads, from the table's one frame. */
export function answersWithout(set: number, { reply, tensors }: Answer): Answer[] {
  const { tokens, earlier, tracked, words } = reply as unknown as Table;
  const all = rowOf(tensors, 'most', set);
  const ids = [...all, ...earlier, ...tracked];
  const [p, logit] = [rowOf(tensors, 'p', set), rowOf(tensors, 'logit', set)];
  const known = tensors.get('ids')!.data;
  const [p_before, logit_before] = [floats(tensors, 'p_before'), floats(tensors, 'logit_before')];
  const said = (id: number): PredictionRow => {
    const [now, then] = [ids.indexOf(id), known.indexOf(id)];
    const [before, after] = [{ p: p_before[then]!, logit: logit_before[then]! }, { p: p[now]!, logit: logit[now]! }];
    return { id, text: words[then]!, before, after };
  };
  const rows = [...new Set([...all, ...earlier])].map(said);
  const prediction = { part: 'prediction', at: tokens.at, rows, tracked: tracked.map(said) };
  const done = { part: 'done', ms: 0, unchanged: [] };
  return [tokens, prediction, done].map((fields) => ({ reply: { ...fields, id: 0, lane: 'view' } as Reply, tensors: new Map() }));
}

/** One row of a table of numbers. */
function rowOf(tensors: Tensors, name: string, row: number): number[] {
  const { shape, data } = tensors.get(name)!;
  const width = shape[1]!;
  return [...data.subarray(row * width, (row + 1) * width)];
}

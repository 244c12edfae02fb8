/** The types of docs/protocol.md: what the page asks and what the server answers. */

import type { Atlas, AtlasRow, Example } from '../atlas/data';

/** A token: its position, or the characters it stands on, in Unicode code points. */
export type TokenRef = number | [start: number, end: number, part?: number];

/** Every edit of docs/edits.md, with tokens named by `T`: a TokenRef on the wire, a position once acting. */
export type Edit<T = TokenRef> = { strength: number } & (
  | { kind: 'shift-key'; kv_head: string; token: T; shift: number[] }
  | { kind: 'swap-value'; kv_head: string; token: T; source: T }
  | { kind: 'share-kv'; first_layer: number; last_layer: number; n_kv_head: number }
  | { kind: 'shift-query'; head: string; query: T; shift: number[] }
  | { kind: 'aim-query'; head: string; query: T; key: T; margin: number }
  | { kind: 'tie'; where: string }
  | { kind: 'stop-rotation'; where: string }
  | { kind: 'mute'; where: string; key: T; query: T | null }
  | { kind: 'strengthen'; where: string; query: T; key: T; amount: number }
  | { kind: 'scale-scores'; where: string; factor: number }
  | { kind: 'ablate'; where: string; to: 'zero' | 'mean' | number[] }
);
export type EditKind = Edit['kind'];
export type EditOf<K extends EditKind, T = TokenRef> = Extract<Edit<T>, { kind: K }>;

export interface Rotation {
  /** `half`: component i turns with i + dims/2; `adjacent`: 2i with 2i + 1. */
  pairs: 'half' | 'adjacent';
  dims: number;
  /** Radians per position, one for each pair. */
  frequencies: number[];
  /** On both cos and sin. */
  factor: number;
}

export interface CacheRow {
  n_kv_head: number;
  bytes_per_token: number;
  bytes: number;
}

/** Which special tokens stand around a text: those of the tokenizer, none, or a start token besides. */
export type Special = boolean | 'start';

export interface ModelInfo {
  name: string;
  badge: string;
  license: string | null;
  n_layer: number;
  n_head: number;
  n_kv_head: number;
  d_head: number;
  /** Components of a value. */
  d_value: number;
  d_model: number;
  n_vocab: number;
  n_context: number;
  limit: number;
  /** The start token that can be put in front, as it prints; null where there is none, or it stands there anyway. */
  start: string | null;
  /** What besides W_q makes q, in order. */
  q_made: ('latent' | 'bias' | 'qk-norm')[];
  causal: boolean;
  has_output: boolean;
  scale: number;
  /** What stands between q · k and the weights besides scale and mask, in words; empty in most models. */
  score_extras: string;
  window: number | null;
  windowed_layers: number[];
  /** Null where nothing turns, or where no one rotation holds in all layers. */
  rotation: Rotation | null;
  rotates: boolean;
  cache: { dtype: string; context: number; rows: CacheRow[] } | null;
  why: { prediction: string | null; cache: string | null; words: string | null };
}

// ---- what the page sends

export interface TextState {
  model: string;
  text: string;
  special?: Special;
  edits: Edit[];
}

export type Part =
  | 'head'
  | 'raw'
  | 'found'
  | 'writes'
  | 'residual'
  | 'heads'
  | 'overview'
  | 'prediction'
  | 'words';
/** An answer to track: a vocabulary id, or a text that is one token. */
export type Tracked = number | string;

export interface LaneFields {
  view: TextState & {
    heads: string[];
    query: TokenRef | null;
    key: TokenRef | null;
    at: TokenRef | null;
    tracked: Tracked[];
    parts: Part[];
    /** What this page does meanwhile, on the server's own processors. */
    busy?: 'drawing' | 'dragging' | null;
  };
  effect: TextState & { at: TokenRef | null; tracked: Tracked[] };
  ablate: TextState & { at: TokenRef | null; tracked: Tracked[] };
  without: TextState & { head: string; at: TokenRef | null; tracked: Tracked[] };
  curve: TextState & { places: number[]; at: TokenRef | null; tracked: Tracked[] };
  why: TextState & { head: string; query: TokenRef | number; key: TokenRef | number };
  sharing: { model: string };
  weights: { model: string; head: string };
  symmetry: { model: string };
  models: Record<never, never>;
  /** Without a name: which there are. */
  atlas: { atlas?: string };
  atlas_head: { atlas: string; head: string };
  open: { model: string };
}
export type Lane = keyof LaneFields;

// ---- what the server sends

export interface Welcome {
  part: 'welcome';
  protocol: number;
  version: string;
  models: KnownModel[];
  opened: ModelInfo | null;
}

/** A model that can be opened, by its name. */
export interface KnownModel {
  name: string;
  title: string;
  license: string | null;
  /** Its files are on this machine; else opening it downloads them first. */
  cached: boolean;
  opened: boolean;
  size_bytes: number;
  download_bytes: number;
}

export interface TokensReply {
  part: 'tokens';
  tokens: string[];
  offsets: [number, number][];
  special: boolean[];
  n_token: number;
  query: number | null;
  key: number | null;
  at: number | null;
  edits: (Edit<number> | null)[];
  refused: { edit: number; message: string }[];
}

export interface HeadReply {
  part: 'head';
  head: string;
  /** Within its layer. */
  kv_head: number;
  readers: string[];
  query: number;
  /** The length of the residual it writes into; null where a saved file does not hold it. */
  residual: number | null;
  edited: boolean;
  /** What its family has between q · k and the weights besides scale and mask; null in most. */
  rule: { softcap: number | null; sink: number | null } | null;
}

export interface Chance {
  p: number;
  logit: number;
}

export interface PredictionRow {
  id: number;
  text: string;
  before: Chance;
  after: Chance;
}

/** A vocabulary entry and how far its logit lies from the mean, in standard deviations over the vocabulary. */
export interface Word {
  id: number;
  text: string;
  sigma: number;
  /** Extreme for most values of this head in this text, so no news about this token. */
  always: boolean;
}

export interface WordsOf {
  promotes: Word[];
  suppresses: Word[];
  stands_out: boolean;
  threshold: number;
}

export interface SharingReply {
  part: 'sharing';
  done?: number;
  total?: number;
  order?: number[];
  loss?: number[];
  bytes_per_token?: number[];
  measured_on?: string;
}

export interface PredictionReply {
  part: 'prediction';
  at: number;
  rows: PredictionRow[];
  tracked: PredictionRow[];
}

/** What a head's values and its blend say. */
export interface HeadWords {
  values: (WordsOf & { index: number })[];
  blend: WordsOf;
}

export interface WordsReply extends HeadWords {
  part: 'words';
  head: string;
  /** Where there are edits: the same without them. */
  before?: HeadWords;
}

/** A head's ablation: what the tracked answer loses by it, and how probable it is then. */
export interface Ablated {
  head: string;
  effect: number;
  p: number;
}

export interface AblateReply {
  part: 'ablate';
  at: number;
  effects?: Ablated[];
  /** The same without the edits, once all is measured with them. */
  before?: Ablated[];
  left: number;
}

export interface WithoutReply extends Ablated {
  part: 'without';
  at: number;
}

export interface CurveReply {
  part: 'curve';
  places: number[];
  at: number;
  strengths: number[];
  p: number[][];
  logits: number[][];
}

/** What a writer into the residual adds to a score, by its part of the query and by its part of the key. */
export interface Writer {
  name: string;
  kind: 'embedding' | 'position' | 'head' | 'cross' | 'mixer' | 'mlp' | 'bias';
  layer: number | null;
  head: number | null;
  query: number;
  key: number;
}

export interface WhyReply {
  part: 'why';
  score: number;
  sum: number;
  apart: Record<string, number>;
  remainder: number;
  components: Writer[];
  /** Where there are edits: the score and its writers without them. */
  before?: { score: number; components: Writer[] };
}

export interface OverviewReply {
  part: 'overview';
  rows: number[];
  columns: number[];
}

/** Arrays: `heads` [n_head, d_model], `bias` [d_model] where there is one, `out` [d_model]. */
export interface WritesReply {
  part: 'writes';
  layer: number;
  query: number;
  /** The largest one between Σ heads + bias and out. */
  difference: number;
}

/** Arrays: `w_q`, `w_k`, `w_v` [d_model, d_head]; `b_q`, `b_k`, `b_v` [d_head] where there are biases. */
export interface WeightsReply {
  part: 'weights';
  head: string;
  /** Within its layer. */
  kv_head: number;
  /** Whether q and k are normalised before they are rotated. */
  qk_norm: boolean;
}

/** One head's examples, with the texts they stand in. */
export interface AtlasHeadReply {
  part: 'atlas_head';
  atlas: string;
  head: string;
  texts: string[];
  examples: Example[];
}

export type Reply = { id: number; lane: Lane } & (
  | TokensReply
  | HeadReply
  | OverviewReply
  | WhyReply
  | PredictionReply
  | WordsReply
  | AblateReply
  | WithoutReply
  | CurveReply
  | SharingReply
  | WritesReply
  | WeightsReply
  | { part: 'residual'; query: number }
  | { part: 'symmetry'; seed: number }
  | { part: 'raw'; head: string }
  | { part: 'found'; head: string; query: number }
  | { part: 'heads'; query: number; key: number | null }
  | { part: 'effect'; at: number }
  | { part: 'atlases'; atlases: AtlasRow[] }
  | { part: 'atlas'; atlas: string; summary: Atlas }
  | AtlasHeadReply
  | { part: 'models'; models: KnownModel[] }
  | { part: 'progress'; done: number; total: number }
  | { part: 'opened'; model: ModelInfo }
  | { part: 'done'; ms: number; unchanged?: number[] }
  | { part: 'error'; kind: string; message: string }
  | { part: 'dropped' }
);
export type ReplyOf<P extends Reply['part']> = Extract<Reply, { part: P }>;

/** An error that names no request: the message was not one. */
export interface Stray {
  id: null;
  lane: null;
  part: 'error';
  kind: string;
  message: string;
}

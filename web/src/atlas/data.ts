/** What an atlas holds: docs/atlas.md as types. The server has checked it. */
export interface Baseline {
  value: number;
  low: number;
  high: number;
  /** Of the best fixed distance: which, in words or tokens. */
  offset?: number;
}

/** One number per head, layer by layer; null where a head has none. */
export type Numbers = (number | null)[];

export interface Measure {
  kind: string;
  /** Items of the documents reported on, and of all. */
  n: number;
  whole_n: number;
  baselines: Record<string, Baseline>;
  value: Numbers;
  low: Numbers;
  high: Numbers;
  selection: Numbers;
  whole: Numbers;
  mass: Numbers;
  twin: Numbers | null;
  twin_high: Numbers | null;
  /** Each head's own score where nothing repeats: measures on random tokens only. */
  control?: Numbers | null;
}

export interface Ablation {
  n: number;
  at: number | null;
  elsewhere: number | null;
  random_head: string;
  random_at: number | null;
  unit: string;
}

export interface RoleHead {
  head: string;
  value: number;
  low: number;
  high: number;
  ablation: Ablation | null;
}

export interface Atlas {
  format: number;
  model: { badge: string; name: string; n_layer: number; n_head: number; n_kv_head: number; causal?: boolean };
  run: {
    window: number;
    documents: number;
    tokens: number;
    files: { name: string; documents?: number; tokens?: number }[];
    report_all?: boolean;
    seed?: number;
    skipped: Record<string, number>;
    problems?: number;
    twin?: boolean;
    causal?: { windows: number; heads: number | null } | null;
  };
  measures: Record<string, Measure>;
  sums: Record<string, { unit: string; mean: Numbers; sd: Numbers }>;
  roles: { role: string; heads: RoleHead[] }[];
  findings: string[];
}

/** A place in a text, in Unicode code points. */
export type Span = [start: number, end: number];

export interface Example {
  measure: string;
  side: 'best' | 'worst' | 'sample';
  weight: number;
  /** Which of the texts. */
  text: number;
  query: Span;
  right: Span | null;
  looked: Span;
  document: string;
}

/** One line of the list of atlases. */
export interface AtlasRow {
  id: string;
  origin: 'given' | 'cache' | 'shipped';
  /** The model of this machine that it is of; null where there is none. */
  opens: string | null;
  badge: string;
  name: string;
  n_layer: number;
  n_head: number;
  n_kv_head: number;
  documents: number;
  tokens: number;
  roles: { role: string; heads: string[] }[];
}

/** The roles a head is named for, the rarest first: they say most. */
export function rolesOf(roles: readonly { role: string; heads: readonly (string | { head: string })[] }[], head: string): string[] {
  const own = roles.filter(({ heads }) => heads.some((held) => (typeof held === 'string' ? held : held.head) === head));
  return own.sort((a, b) => a.heads.length - b.heads.length).map(({ role }) => role);
}

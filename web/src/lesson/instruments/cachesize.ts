/** The arithmetic of a K/V cache: one key and one value for every token, layer and K/V head. */

export interface CacheSettings {
  layers: number;
  /** Query heads. */
  heads: number;
  kv_heads: number;
  /** Numbers in a key, and in a value. */
  d_head: number;
  /** Tokens. */
  context: number;
  /** Bytes a number. */
  bytes: number;
}

/** The sizes themselves, by name. */
export const FIELDS = ['layers', 'heads', 'kv_heads', 'd_head', 'context', 'bytes'] as const;

/** From the published config.json of each; 16 bits a number, and the context it is published with. */
export const PRESETS: readonly (CacheSettings & { name: string })[] = [
  { name: 'SmolLM2-135M', layers: 30, heads: 9, kv_heads: 3, d_head: 64, context: 8192, bytes: 2 },
  { name: 'Llama-2-7B', layers: 32, heads: 32, kv_heads: 32, d_head: 128, context: 4096, bytes: 2 },
  { name: 'Llama-3-8B', layers: 32, heads: 32, kv_heads: 8, d_head: 128, context: 8192, bytes: 2 },
  { name: 'Llama-3-70B', layers: 80, heads: 64, kv_heads: 8, d_head: 128, context: 8192, bytes: 2 },
];

export type Arrangement = 'own' | 'asIs' | 'one';

export interface CacheSize {
  arrangement: Arrangement;
  kv_heads: number;
  /** Bytes for each token. */
  token: number;
  /** Bytes for the whole context. */
  context: number;
  /** Of what one K/V head for each query head would take. */
  share: number;
}

export type Unfit = 'unfit' | 'uneven';

/** Why these numbers describe no model, or null. */
export function complaint({ layers, heads, kv_heads, d_head, context, bytes }: CacheSettings): Unfit | null {
  if (![layers, heads, kv_heads, d_head, context, bytes].every((value) => Number.isFinite(value) && value > 0)) return 'unfit';
  return heads % kv_heads === 0 ? null : 'uneven';
}

/** One K/V head for each query head, as the model is, and one for all; the largest first. */
export function sizes(settings: CacheSettings): CacheSize[] {
  const { layers, heads, kv_heads, d_head, context, bytes } = settings;
  const counts: [Arrangement, number][] = [
    ['own', heads],
    ['asIs', kv_heads],
    ['one', 1],
  ];
  return counts.map(([arrangement, n]) => {
    const token = 2 * layers * n * d_head * bytes;
    return { arrangement, kv_heads: n, token, context: token * context, share: n / heads };
  });
}

/** The preset that these settings are, or null. */
export function presetOf(settings: CacheSettings): string | null {
  return PRESETS.find((preset) => FIELDS.every((key) => preset[key] === settings[key]))?.name ?? null;
}

/** The context takes no more than so many bytes, and nothing but the K/V heads is other than it was. */
export function reaches(goal: number, settings: CacheSettings, first: CacheSettings): boolean {
  const same = FIELDS.every((key) => key === 'kv_heads' || settings[key] === first[key]);
  const now = complaint(settings) ? undefined : sizes(settings).find(({ arrangement }) => arrangement === 'asIs');
  return same && now !== undefined && now.context <= goal;
}

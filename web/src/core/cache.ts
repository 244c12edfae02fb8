/** What a K/V cache takes: one key and one value for every token, layer and K/V head. */
export interface CacheShape {
  n_layer: number;
  n_head: number;
  n_kv_head: number;
  d_head: number;
}

/** From its published configuration (config.json of Meta-Llama-3-8B). */
export const LLAMA_3_8B: CacheShape = { n_layer: 32, n_head: 32, n_kv_head: 8, d_head: 128 };

export const HALF = 2;

/** Bytes for one token at 16 bits. */
export function bytesPerToken({ n_layer, d_head }: CacheShape, kvHeads: number): number {
  return 2 * n_layer * kvHeads * d_head * HALF;
}

/** Heads by their addresses: `13.8` is layer 13, query head 8; as an index, layer · n_head + head. */

export interface HeadCounts {
  n_layer: number;
  n_head: number;
  n_kv_head: number;
}

/** What a person typed as an address: `13.8`, `13,8` or `L13H8`. Null where there is no such head. */
export function readAddress(typed: string, { n_layer, n_head }: HeadCounts): string | null {
  const match = /^\s*l?\s*(\d+)\s*(?:[.,:\s]|\s*h)\s*(\d+)\s*$/i.exec(typed);
  if (!match) return null;
  const [layer, head] = [Number(match[1]), Number(match[2])];
  return layer < n_layer && head < n_head ? `${layer}.${head}` : null;
}

/** The two numbers of an address. */
export function layerAndHead(address: string): [layer: number, head: number] {
  return address.split('.').map(Number) as [number, number];
}

export function addressOf(index: number, n_head: number): string {
  return `${Math.floor(index / n_head)}.${index % n_head}`;
}

export function indexOf(address: string, n_head: number): number {
  const [layer, head] = layerAndHead(address);
  return layer * n_head + head;
}

/** The K/V head that a query head reads: groups are consecutive query heads. */
export function kvAddress(address: string, { n_head, n_kv_head }: HeadCounts): string {
  const [layer, head] = layerAndHead(address);
  return `${layer}.${Math.floor(head / (n_head / n_kv_head))}`;
}

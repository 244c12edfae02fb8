/** The tray's chips: one for each edit, and one for all that shares K/V heads. */
import { layerAndHead } from './address';
import type { Range } from './anchors';
import { describe, type EditItem } from './edits';
import type { EditKind, ModelInfo, TokensReply } from './protocol';

export interface Chip {
  items: EditItem[];
  kind: EditKind;
  strength: number;
  on: boolean;
}

export function chipsOf(edits: readonly EditItem[]): Chip[] {
  const shared = edits.filter(({ edit }) => edit.kind === 'share-kv');
  const groups = edits.flatMap((item) => (item.edit.kind !== 'share-kv' ? [[item]] : item === shared[0] ? [shared] : []));
  return groups.map((items) => {
    const { kind, strength } = items[0]!.edit;
    return { items, kind, strength, on: items.some(({ on }) => on) };
  });
}

/** Why an edit that was sent does not act, or null. `waits`: a token it names is gone. */
export function standing(id: number, sent: readonly number[], tokens: TokensReply, unchanged: readonly number[]): string | null {
  const at = sent.indexOf(id);
  if (at < 0) return null;
  const refused = tokens.refused.find(({ edit }) => edit === at);
  if (refused) return refused.message;
  if (tokens.edits[at] === null) return 'waits';
  return unchanged.includes(at) ? 'unchanged' : null;
}

/** The query heads that read a K/V head: equal groups, in order. None of a model that has no such head. */
export function readersOf(kvHead: string, { n_layer, n_head, n_kv_head }: Pick<ModelInfo, 'n_layer' | 'n_head' | 'n_kv_head'>): string[] {
  const [layer, index] = layerAndHead(kvHead);
  if (layer >= n_layer || index >= n_kv_head) return [];
  const group = n_head / n_kv_head;
  return Array.from({ length: group }, (_, i) => `${layer}.${index * group + i}`);
}

/** Which hat's array an edit changes; null where it is none of the three. */
export function hatOf(kind: EditKind): 'q' | 'k' | 'v' | null {
  if (kind === 'shift-query' || kind === 'aim-query') return 'q';
  if (kind === 'shift-key' || kind === 'mute' || kind === 'tie') return 'k';
  return kind === 'swap-value' ? 'v' : null;
}

// ---- sharing K/V heads

/** The layers that the edits reduce to one K/V head; a part of the way saves nothing. */
export function sharedLayers(edits: readonly EditItem[]): Set<number> {
  const layers = new Set<number>();
  for (const { edit, on } of edits) {
    if (!on || edit.kind !== 'share-kv' || edit.n_kv_head !== 1 || edit.strength < 1) continue;
    for (let layer = edit.first_layer; layer <= edit.last_layer; layer++) layers.add(layer);
  }
  return layers;
}

/** Layers as runs of neighbours, first to last. */
export function runsOf(layers: Iterable<number>): [first: number, last: number][] {
  const runs: [number, number][] = [];
  for (const layer of [...layers].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run && run[1] === layer - 1) run[1] = layer;
    else runs.push([layer, layer]);
  }
  return runs;
}

/** What a chip says: its edit, or of several runs of shared layers how many layers they are. */
export function textOf({ items }: Chip, tokens: readonly string[], ranges: readonly Range[], shared: (layers: number) => string): string {
  if (items.length === 1) return describe(items[0]!, tokens, ranges);
  return shared(items.reduce((sum, { edit }) => sum + (edit.kind === 'share-kv' ? edit.last_layer - edit.first_layer + 1 : 0), 0));
}

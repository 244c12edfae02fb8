/** How a token takes part, for the open head and its query. */
import { layerAndHead } from '../core/address';
import { locate } from '../core/anchors';
import type { EditItem } from '../core/edits';
import { reaches } from '../core/mechanism';
import type { Piece } from '../core/spans';
import { lab } from '../store.svelte';

export type Look = 'query' | 'key' | 'later' | '';

export function lookOf(token: number): Look {
  const { queryAt } = lab;
  if (token === queryAt) return 'query';
  if (lab.info?.causal && queryAt !== null && token > queryAt) return 'later';
  return token === lab.keyAt ? 'key' : '';
}

export function anyLater(): boolean {
  const last = (lab.shown?.tokens.tokens.length ?? 0) - 1;
  return last >= 0 && lookOf(last) === 'later';
}

/** Does a query of another token land on this one, so that it can be seen? */
export function anyFound(): boolean {
  const found = lab.shown?.found;
  return !!found && found.query === lab.queryAt && found.weights.some((weight, token) => token !== found.query && weight >= 0.02);
}

/** How dark it is drawn: by its weight, and weak ones a little darker than their share, so that they can be seen. */
export function tintOf(token: number): string {
  return `${Math.round(32 * (lab.viewWeights?.[token] ?? 0) ** 0.65)}%`;
}

/** A piece of the text as it stands behind the text area: its characters, its classes, and how dark it is. */
export interface Ink {
  characters: string;
  looks: string | undefined;
  tint: string | undefined;
}

/** `reached`: the token that a drag from the query has reached. */
export function inkOf({ start, end, tokens: [token] }: Piece, text: string, beyond: boolean, reached: number | null): Ink {
  const characters = text.slice(start, end);
  if (token === undefined) return { characters, looks: beyond ? 'beyond' : undefined, tint: undefined };
  const looks = ['token', lookOf(token), isMuted(token) ? 'muted' : '', reached === token ? 'reached' : ''];
  return { characters, looks: looks.filter((name) => name !== '').join(' '), tint: tintOf(token) };
}

export function sameInk(some: Ink, other: Ink | undefined): boolean {
  return some.characters === other?.characters && some.looks === other.looks && some.tint === other.tint;
}

/** Is its key muted for this query in the open head, by whatever edit? */
export function isMuted(token: number): boolean {
  const [layer, head] = layerAndHead(lab.head);
  return lab.acting.some((edit) => {
    const forQuery = edit.kind === 'mute' && (edit.query === null || edit.query === lab.queryAt);
    return forQuery && edit.key === token && reaches(edit, layer, head);
  });
}

/** Mute a token in the open head, or take back the edit that did. */
export function toggleMute(token: number): void {
  const made = muteOf(token);
  if (made) lab.removeEdits([made.id]);
  else lab.addEdit({ kind: 'mute', where: lab.head, key: token, query: null, strength: 1 });
}

export function muteOf(token: number): EditItem | undefined {
  const ranges = lab.shown?.ranges ?? [];
  return lab.edits.find(({ edit }) => edit.kind === 'mute' && edit.where === lab.head && locate(edit.key, ranges) === token);
}

/** Which atlases the server has: brought once for all pages, so that a tab stands only where there is something behind it. */
import type { AtlasRow } from '../atlas/data';
import { recorded, root } from '../place';

class Atlases {
  list: AtlasRow[] = $state.raw([]);
  /** The server has answered, or there is none. */
  known = $state(recorded);
  #loading: Promise<void> | null = null;

  load(): Promise<void> {
    if (recorded) return Promise.resolve();
    return (this.#loading ??= fetch(new URL('atlases.json', root))
      .then((response) => (response.ok ? (response.json() as Promise<AtlasRow[]>) : []))
      .then((list) => void (this.list = list))
      .catch(() => void (this.#loading = null))
      .finally(() => (this.known = true)));
  }

  /** The atlas of an open model: of its name and its sizes. */
  of(info: { name: string; n_layer: number; n_head: number } | null): AtlasRow | null {
    return this.list.find((row) => row.opens === info?.name && row.n_layer === info.n_layer && row.n_head === info.n_head) ?? null;
  }
}

export const atlases = new Atlases();

/** What a person chose as a URL fragment, and back: `1.` and base64url of deflated JSON. A link comes from anyone. */
import { en } from '../en/core';
import { fromWire, toWire, type Place } from './anchors';
import { editToWire, waits, withTokens, type EditItem } from './edits';
import { LinkError, readShared, type Shared } from './linkcheck';
import type { Special, Tracked } from './protocol';

export { LinkError };

/** What a link, an export and `copy as Python` hold. */
export interface Chosen {
  model: string;
  text: string;
  special: Special;
  head: string;
  pinned: string | null;
  query: Place | null;
  key: Place | null;
  edits: EditItem[];
  tracked: Tracked[];
  atEnd: boolean;
}

const PREFIX = '1.';
const LONGEST_LINK = 200_000;
const LARGEST_STATE = 2 ** 22;

/** The fragment, without `#`. Edits that wait for a lost token stay behind: a link has no undo to bring it back. */
export async function toLink(chosen: Chosen): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(toShared(chosen)));
  const packed = await through(bytes, new CompressionStream('deflate-raw'), LARGEST_STATE);
  const link = PREFIX + toBase64Url(packed);
  if (link.length > LONGEST_LINK) {
    throw new LinkError(en.link.wouldBeLong(link.length, LONGEST_LINK));
  }
  return link;
}

/** What a fragment holds. Raises LinkError for anything that `toLink` did not write. */
export async function fromLink(fragment: string): Promise<Chosen> {
  const link = fragment.replace(/^#/, '');
  if (!link.startsWith(PREFIX)) throw new LinkError(en.link.notOurs);
  if (link.length > LONGEST_LINK) throw new LinkError(en.link.long(link.length, LONGEST_LINK));
  const packed = fromBase64Url(link.slice(PREFIX.length));
  let state: unknown;
  try {
    const bytes = await through(packed, new DecompressionStream('deflate-raw'), LARGEST_STATE);
    state = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw error instanceof LinkError ? error : new LinkError(en.link.damaged);
  }
  return fromShared(readShared(state));
}

/** The state with its tokens named as the wire names them. */
export function toShared({ edits, query, key, text, ...rest }: Chosen): Shared {
  const kept = edits.filter((item) => !waits(item));
  const named = (place: Place | null) => (place === null || isLost(place) ? null : toWire(place, text));
  return {
    ...rest,
    text,
    query: named(query),
    key: named(key),
    edits: kept.map((item) => ({ edit: editToWire(item, text), on: item.on })),
  };
}

/** A checked state, its tokens found again by their characters. */
export function fromShared({ edits, query, key, text, ...rest }: Shared): Chosen {
  return {
    ...rest,
    text,
    query: query === null ? null : fromWire(query, text),
    key: key === null ? null : fromWire(key, text),
    edits: edits.map(({ edit, on }, i) => ({
      id: i + 1,
      edit: withTokens(edit, (token) => fromWire(token, text, true)),
      on,
    })),
  };
}

function isLost(place: Place): boolean {
  return typeof place !== 'number' && place.lost;
}

/** Bytes through a (de)compressor; stops at a limit, so that a small link cannot fill the memory. */
async function through(
  bytes: Uint8Array<ArrayBuffer>,
  stream: CompressionStream | DecompressionStream,
  limit: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    size += value!.length;
    if (size > limit) {
      await reader.cancel();
      throw new LinkError(en.link.large(limit / 2 ** 20));
    }
    chunks.push(value!);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

function toBase64Url(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[\w-]*$/.test(text)) throw new LinkError(en.link.characters);
  try {
    return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
  } catch {
    throw new LinkError(en.link.damaged);
  }
}

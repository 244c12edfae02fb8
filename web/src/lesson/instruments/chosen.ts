/** The state that a lesson opens the playground with. */
import { fromWire, type Place } from '../../core/anchors';
import { withTokens } from '../../core/edits';
import type { Edit } from '../../core/protocol';
import type { Chosen } from '../../core/share';
import { tokenNamed } from '../naming';

export interface PlaygroundSettings {
  model: string;
  text: string;
  head: string;
  query: string | null;
  key: string | null;
  /** As docs/edits.md writes them, tokens as the wire names them. */
  edits: Edit[];
  /** What the reader made of it, as a link's fragment. No lesson sets it: a cue's settings and *resume* go without. */
  state?: string;
}

/** The token that is named, or nothing: the playground then takes its own. */
function placeOf(text: string, word: string | null): Place | null {
  const found = word === null ? null : tokenNamed(text, word);
  return found === null ? null : fromWire(found, text);
}

export function chosen({ model, text, head, query, key, edits }: PlaygroundSettings): Chosen {
  return {
    ...{ model, text, head },
    special: true,
    pinned: null,
    query: placeOf(text, query),
    key: placeOf(text, key),
    edits: edits.map((edit, i) => ({ id: i + 1, edit: withTokens(edit, (token) => fromWire(token, text, true)), on: true })),
    tracked: [],
    atEnd: true,
  };
}

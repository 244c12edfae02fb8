/** A place of the atlas as a link into the playground: that text, that head, that query, that key. */
import { fromRange } from '../core/anchors';
import { toLink } from '../core/share';
import { unitsOf } from './context';
import type { Example, Span } from './data';

/** The fragment, without `#`. Without an example the last token of the text looks. */
export function playgroundLink(model: string, head: string, text: string, example: Example | null = null): Promise<string> {
  const place = (span: Span | null) => (span === null ? null : fromRange(text, ...unitsOf(text, span)));
  return toLink({
    model,
    text,
    special: true,
    head,
    pinned: null,
    query: place(example?.query ?? null),
    key: place(example && (example.right ?? example.looked)),
    edits: [],
    tracked: [],
    atEnd: false,
  });
}

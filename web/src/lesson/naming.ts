/** How a lesson's settings name a token: by its text, or by its number, `#4`, as on the command line. */
import type { TokenRef, TokensReply } from '../core/protocol';

const NUMBER = /^#(\d+)$/;

/** A word's characters in a text, as the wire names a token: its n-th occurrence (not as the beginning of a longer word), from the end where n is negative. */
export function wordIn(text: string, word: string, n = 0): [number, number] | null {
  const places: number[] = [];
  for (let at = text.indexOf(word); word && at >= 0; at = text.indexOf(word, at + 1)) {
    if (!/^\p{L}/u.test(text.slice(at + word.length))) places.push(at);
  }
  const at = places.at(n);
  if (at === undefined) return null;
  const start = [...text.slice(0, at)].length;
  return [start, start + [...word].length];
}

/** The position in a name that is a number. */
export function numberIn(name: string): number | null {
  const found = NUMBER.exec(name);
  return found ? Number(found[1]) : null;
}

/** The token that a setting names, for the wire: of several with this text the last, or the n-th. */
export function tokenNamed(text: string, name: string, n = -1): TokenRef | null {
  return numberIn(name) ?? wordIn(text, name, n);
}

/** A token's one name: its text where that finds it, so that a choice asks what the lesson asked; else its number. */
export function nameOf(text: string, { tokens, offsets }: Pick<TokensReply, 'tokens' | 'offsets'>, at: number): string {
  const name = tokens[at]!;
  const [found, own] = [wordIn(text, name, -1), offsets[at]!];
  return numberIn(name) === null && found?.[0] === own[0] && found[1] === own[1] ? name : `#${at}`;
}

/** What a person reads: the text of the token that is named. */
export function textOf(name: string, tokens: readonly string[] = []): string {
  const at = numberIn(name);
  return at === null ? name : (tokens[at] ?? name);
}

/** One head's weights of every query, from a probe's answer: what a grid shows, and how much goes to later words. */
import { attendRow, headModel, visibleKeys } from '../../core/mechanism';
import type { ModelInfo } from '../../core/protocol';
import type { Picture, OpenHead } from '../../picture';
import { numberIn } from '../naming';

/** Rows are queries, columns keys; null where the query cannot see the key. */
export type Weights = (number | null)[][];

export function weightsOf(open: OpenHead, info: ModelInfo, picture: Picture): Weights {
  const n = picture.tokens.tokens.length;
  const model = headModel(info, open.reply.head);
  return Array.from({ length: n }, (_, query) => {
    const { weights } = attendRow(open.arrays, model, picture.acting, query);
    const { first, last } = visibleKeys(query, n, model);
    return Array.from(weights, (weight, key) => (key >= first && key < last ? weight : null));
  });
}

/** What a query gives to the words after it, without special tokens; and how many of them it cannot see. */
export function laterOf(weights: Weights, special: readonly boolean[], query: number): { weight: number; words: number; hidden: number } {
  const later = (weights[query] ?? []).filter((_, key) => key > query && !special[key]);
  const seen = later.filter((weight) => weight !== null);
  return { weight: seen.reduce((sum, weight) => sum + weight, 0), words: later.length, hidden: later.length - seen.length };
}

/** The key with the largest weight. */
export function topOf(row: readonly (number | null)[]): number {
  return row.reduce<number>((best, weight, key) => ((weight ?? -1) > (row[best] ?? -1) ? key : best), 0);
}

/** The token that a setting names, by its number or by its word: the last of several, whether the model prints the space before it or not. */
export function tokenOf(tokens: readonly string[], word: string | null): number | null {
  if (word === null) return null;
  const number = numberIn(word);
  if (number !== null) return number < tokens.length ? number : null;
  const at = tokens.findLastIndex((token) => token.trim() === word.trim());
  return at < 0 ? null : at;
}

/** How a setting names this token, so that no other is meant: by its word, or by its number. */
export function wordOf(tokens: readonly string[], at: number): string {
  const word = tokens[at]!;
  return tokenOf(tokens, word) === at ? word : `#${at}`;
}

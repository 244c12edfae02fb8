/** One sentence of the numbers on screen. Every clause holds of them, or it is not there. */
import { hundredths, quoted } from './format';
import type { Edit, PredictionReply } from './protocol';
import type { Say } from '../en/playground';

/** A followed answer that is less probable than this, with the head and without, is not what the sentence is about. */
const WORTH_SAYING = 0.01;

export interface Seen {
  head: string;
  causal: boolean;
  tokens: readonly string[];
  query: number;
  /** The key of interest, where one was chosen. */
  key: number | null;
  /** As drawn; without its first token's, they are renormalised. */
  weights: ArrayLike<number>;
  before: ArrayLike<number>;
  edited: boolean;
  firstHidden: boolean;
  acting: readonly Edit<number>[];
  /** The edits as their chips say it, where there are few. */
  edits: readonly string[];
  prediction: PredictionReply | null;
  /** The first tracked answer's probability without this head, where it was measured in this state. */
  without: { text: string; now: number; p: number } | null;
}

/** The sentence: the query, printed strongly, and what follows it. */
export interface Truth {
  query: string;
  rest: string;
}

type Words = Say['sentence']['truth'];

export function truthOf(seen: Seen, say: Words): Truth {
  const rest = [looks(seen, say), unnamed(seen, say), answers(seen, say)].filter((clause) => clause !== '').join(' ');
  return { query: print(seen.tokens[seen.query]), rest };
}

// ---- where it looks

function looks(seen: Seen, say: Words): string {
  const now = top(seen.weights);
  const was = top(seen.before);
  const hidden = seen.firstHidden ? say.firstHidden : '';
  if (now === null) return `${say.nowhere(seen.head)}${hidden}.`;
  const [key, weight] = [print(seen.tokens[now]), hundredths(seen.weights[now]!)];
  if (seen.edited && was !== null && was !== now) {
    const old = say.looked(print(seen.tokens[was]), hundredths(seen.before[was]!));
    return `${old}; ${cause(seen, was, say)}${say.nowLooks(key, weight)}${hidden}.`;
  }
  const earlier = seen.edited && was !== null ? beforeEdits(weight, hundredths(seen.before[was]!), say) : '';
  return `${say.looks(key, weight, seen.head)}${earlier}${ofInterest(seen, now, say)}${hidden}.`;
}

/** What was done, where the sentence before has not named it: on its own it would speak of an answer that turns for no reason. */
function unnamed(seen: Seen, say: Words): string {
  const [now, was] = [top(seen.weights), top(seen.before)];
  return seen.edited && (now === null || was === null || was === now) ? named(seen, say.isOn, say.areOn) : '';
}

/** The edits: one by its name, several by their number. */
function named({ acting, edits }: Seen, one: (edit: string) => string, several: (n: number) => string): string {
  if (acting.length > 1) return several(acting.length);
  return acting.length === 1 && edits.length === 1 ? one(edits[0]!) : '';
}

function beforeEdits(now: string, was: string, say: Words): string {
  return now === was ? say.asBefore : say.wasBefore(was);
}

/** Why another key wins now: named where it is one edit, counted where they are several. */
function cause(seen: Seen, was: number, say: Words): string {
  const { acting, head, query } = seen;
  const [edit] = acting;
  if (acting.length === 1 && edit!.kind === 'mute' && edit!.key === was && edit!.strength === 1) {
    if (edit!.where === head && (edit!.query === null || edit!.query === query)) return say.mutedHere;
  }
  return named(seen, say.withEdit, say.withEdits);
}

function ofInterest(seen: Seen, now: number, say: Words): string {
  const { key, query, tokens, weights, causal } = seen;
  if (key === null || key === now || tokens[key] === undefined) return '';
  if (causal && key > query) return say.later(print(tokens[key]));
  return say.alsoAt(print(tokens[key]), hundredths(weights[key]!));
}

// ---- what it predicts

function answers(seen: Seen, say: Words): string {
  const { prediction, without } = seen;
  const after = best(prediction, 'after');
  const before = best(prediction, 'before');
  if (!prediction || !after || !before) return '';
  const place = prediction.at === seen.query ? '' : say.after(print(seen.tokens[prediction.at]));
  const [now, was] = [word(after.text), word(before.text)];
  if (after.id !== before.id) {
    return now === was ? say.turns(print(before.text), print(after.text), place) : say.turns(was, now, place);
  }
  if (seen.edited) {
    const [p, old] = [percent(after.after.p), percent(after.before.p)];
    return p === old ? say.stays(now, p, place) : say.staysFrom(now, old, p, place);
  }
  const likely = without && Math.max(without.now, without.p) >= WORTH_SAYING;
  const ablated = likely ? withoutHead(word(without.text), percent(without.now), percent(without.p), say) : '';
  return `${say.answer(now, percent(after.after.p), place)}${ablated}.`;
}

function withoutHead(answer: string, now: string, p: string, say: Words): string {
  return now === p ? say.withoutStays(answer, p) : say.without(answer, now, p);
}

function best(prediction: PredictionReply | null, state: 'before' | 'after') {
  const rows = prediction?.rows ?? [];
  return rows.length ? rows.reduce((a, b) => (b[state].p > a[state].p ? b : a)) : null;
}

// ---- figures

function top(weights: ArrayLike<number>): number | null {
  let at: number | null = null;
  for (let j = 0; j < weights.length; j++) if (weights[j]! > 0 && (at === null || weights[j]! > weights[at]!)) at = j;
  return at;
}

function print(token: string | undefined): string {
  return quoted(token ?? '');
}

/** A name stands for itself; anything else goes in quotes, or it would read as part of the sentence. */
function word(token: string): string {
  const bare = token.trim();
  return /^\p{Lu}[\p{L}\p{M}'’-]*$/u.test(bare) ? bare : print(token);
}

/** A probability in whole percent; never 0 or 100 for what is neither. */
export function percent(p: number): string {
  if (p > 0 && p < 0.005) return '< 1 %';
  if (p < 1 && p >= 0.995) return '> 99 %';
  return `${Math.round(p * 100)} %`;
}

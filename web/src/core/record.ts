/** What an export as JSON holds: the state and the numbers of the open head, before the edits and after. */
import type { Row } from './mechanism';
import type { PredictionReply } from './protocol';
import { toShared, type Chosen } from './share';

const LONGEST = 40;

export interface Recorded {
  chosen: Chosen;
  badge: string;
  tokens: readonly string[];
  head: string;
  query: number;
  row: Row;
  rowBefore: Row;
  prediction: PredictionReply | null;
}

/** Hidden scores are null: JSON has no minus infinity. */
export function recordOf({ chosen, badge, tokens, head, query, row, rowBefore, prediction }: Recorded): string {
  const numbers = ({ scores, weights, z, writeLength }: Row) => ({
    scores: [...scores],
    weights: [...weights],
    z: [...z],
    write_length: writeLength,
  });
  const answers = prediction && { at: prediction.at, rows: prediction.rows, tracked: prediction.tracked };
  const record = {
    qkvlab: 1,
    model: badge,
    state: toShared(chosen),
    tokens,
    head,
    query,
    after: numbers(row),
    before: numbers(rowBefore),
    prediction: answers,
  };
  return `${JSON.stringify(record, null, 1)}\n`;
}

/** A file name that tells the text and the head. */
export function fileName(text: string, head: string, extension: string): string {
  const words = text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const told = [...words.join('-')].slice(0, LONGEST).join('').replace(/-$/, '');
  return `${['qkvlab', ...(told ? [told] : []), head].join('-')}.${extension}`;
}

import { describe, expect, test } from 'vitest';
import { percent, truthOf, type Seen } from '../src/core/truth';
import { en } from '../src/en/playground';
import type { PredictionReply, PredictionRow } from '../src/core/protocol';

const tokens = ['In', ' France', ' they', '.', ' Italy', ' speak'];
const row = (id: number, text: string, before: number, after: number): PredictionRow => ({
  id,
  text,
  before: { p: before, logit: 0 },
  after: { p: after, logit: 0 },
});
const predicted = (...rows: PredictionRow[]): PredictionReply => ({ part: 'prediction', at: 5, rows, tracked: [] });
const plain: Seen = {
  head: '23.4',
  causal: true,
  tokens,
  query: 5,
  key: null,
  weights: [0.02, 0.02, 0.005, 0, 0.948, 0.007],
  before: [0.02, 0.02, 0.005, 0, 0.948, 0.007],
  edited: false,
  firstHidden: false,
  acting: [],
  edits: [],
  prediction: predicted(row(1, ' Italian', 0.93, 0.93), row(2, ' French', 0.0004, 0.0004)),
  without: null,
};
const muted: Seen = {
  ...plain,
  weights: [0.077, 0.558, 0.035, 0.26, 0, 0.07],
  edited: true,
  acting: [{ kind: 'mute', where: '23.4', key: 4, query: null, strength: 1 }],
  edits: ['mute " Italy" in 23.4'],
  prediction: predicted(row(2, ' French', 0.0004, 0.632), row(1, ' Italian', 0.93, 0.103)),
};
const told = (seen: Seen) => {
  const { query, rest } = truthOf(seen, en.sentence.truth);
  return `${query} ${rest}`;
};

describe('without edits', () => {
  test('the strongest key and the answer', () => {
    expect(told(plain)).toBe('" speak" looks at " Italy" with 0.95 at head 23.4. The answer is Italian with 93 %.');
  });

  test('what the head is worth, once it was measured', () => {
    expect(told({ ...plain, without: { text: ' Italian', now: 0.93, p: 0.551 } })).toMatch(
      /Italian with 93 %; without this head Italian goes from 93 % to 55 %\.$/,
    );
  });

  test('the key of interest, where it is another', () => {
    expect(told({ ...plain, key: 1 })).toContain('looks at " Italy" with 0.95 at head 23.4, and at " France" with 0.02.');
  });

  test('a key behind the query is named as such, but not to an encoder', () => {
    const early = { ...plain, query: 1, key: 4, weights: [0.6, 0.4, 0, 0, 0, 0], before: [0.6, 0.4, 0, 0, 0, 0] };
    expect(told(early)).toContain('looks at "In" with 0.60 at head 23.4; " Italy" comes later and cannot be seen.');
    expect(told({ ...early, causal: false })).toContain('and at " Italy" with 0.00.');
  });

  test('the answer says after which token, where that is not the query', () => {
    expect(told({ ...plain, query: 4 })).toContain('The answer after " speak" is Italian');
  });

  test('an encoder has no answer', () => {
    expect(told({ ...plain, prediction: null })).toBe('" speak" looks at " Italy" with 0.95 at head 23.4.');
  });

  test('the hidden first token is told', () => {
    expect(told({ ...plain, firstHidden: true })).toContain('(the first token left out, the rest renormalised).');
  });
});

describe('with edits', () => {
  test('one muted key, in this head alone', () => {
    expect(told(muted)).toBe(
      '" speak" looked at " Italy" with 0.95; that key is muted in this head alone, and now it looks at " France" with 0.56.' +
        ' The answer turns from Italian to French.',
    );
  });

  test('the same mute in every head is not "this head alone"', () => {
    const acting = [{ kind: 'mute' as const, where: 'all', key: 4, query: null, strength: 1 }];
    expect(told({ ...muted, acting, edits: ['mute " Italy" in all heads'] })).toContain('; “mute " Italy" in all heads” is on, and now it looks');
  });

  test('several edits are counted', () => {
    expect(told({ ...muted, acting: [...muted.acting, { kind: 'tie', where: '3', strength: 1 }] })).toContain('; 2 edits are on, and now');
  });

  test('a drag is not an edit yet', () => {
    expect(told({ ...muted, acting: [], edits: [] })).toContain('with 0.95; now it looks at " France"');
  });

  test('the same key with another weight', () => {
    const weights = [0.2, 0.1, 0, 0, 0.6, 0.1];
    expect(told({ ...muted, weights })).toContain('looks at " Italy" with 0.60 at head 23.4 (0.95 before the edits).');
    expect(told({ ...muted, weights: plain.weights })).toContain('with 0.95 at head 23.4, as before the edits.');
  });

  test('an edit that leaves the head where it looks is named before the answer that it turns', () => {
    const swapped = { ...muted, weights: plain.weights, acting: [{ kind: 'swap-value', kv_head: '23.1', token: 8, source: 1, strength: 1 }] as typeof muted.acting };
    expect(told({ ...swapped, edits: ['swap it'] })).toContain(', as before the edits. “swap it” is on. The answer turns from');
    expect(told({ ...swapped, acting: [...swapped.acting, ...swapped.acting], edits: ['swap it', 'again'] })).toContain('. 2 edits are on. The answer');
  });

  test('without the head an answer goes somewhere, or stays', () => {
    const without = { text: ' Italian', now: 0.93, p: 0.55 };
    expect(told({ ...plain, without })).toContain('; without this head Italian goes from 93 % to 55 %.');
    expect(told({ ...plain, without: { ...without, p: 0.9299 } })).toContain('; without this head Italian stays at 93 %.');
    expect(told({ ...plain, without: { text: ' Spanish', now: 0.002, p: 0.004 } })).toMatch(/The answer is Italian with 93 %\.$/);
  });

  test('an answer that stays', () => {
    expect(told({ ...muted, prediction: predicted(row(1, ' Italian', 0.93, 0.55)) })).toMatch(/The answer stays Italian: 93 % → 55 %\.$/);
    expect(told({ ...muted, prediction: predicted(row(1, ' Italian', 0.93, 0.931)) })).toMatch(/stays Italian with 93 %\.$/);
  });

  test('answers that differ in their space alone are told apart', () => {
    const prediction = predicted(row(1, ' Italian', 0.93, 0.1), row(2, 'Italian', 0.01, 0.6));
    expect(told({ ...muted, prediction })).toContain('turns from " Italian" to "Italian".');
  });

  test('a query that sees nothing', () => {
    expect(told({ ...muted, weights: new Float64Array(6), before: new Float64Array(6) })).toContain('looks at nothing at head 23.4.');
  });
});

test.each([
  [0, '0 %'],
  [0.004, '< 1 %'],
  [0.551, '55 %'],
  [0.997, '> 99 %'],
  [1, '100 %'],
])('%d is %s', (p, expected) => expect(percent(p)).toBe(expected));

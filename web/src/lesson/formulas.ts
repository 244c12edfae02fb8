/** The three formulas of the lesson, as terms; how a term is set stands in Term.svelte. */
import type { en } from '../en/course';

export type SymbolName = keyof typeof en.formula.symbol;
export type FormulaName = keyof typeof en.formula.names;

/** A symbol, an operator, or a built-up term: what is set with a fraction bar, or below a sum. */
export type Term =
  | SymbolName
  | { op: string }
  | { call: string; of: Term[] }
  | { over: Term[]; under: Term[] }
  | { root: Term }
  | { sum: string; of: Term[] }
  | { row: Term[] }
  | { product: [SymbolName, string, SymbolName, string] }
  | { at: SymbolName; index: string };

export interface Formula {
  lines: Term[][];
  /** What each symbol is shown by, the best instrument first. */
  symbols: { symbol: SymbolName; instruments: readonly string[] }[];
  /** The first with indices: below it stands what they count. */
  indexed?: boolean;
}

/** Which hat of the instrument `hats` shows a symbol. */
export const HATS: Partial<Record<SymbolName, 'query' | 'key' | 'value'>> = { q: 'query', Wq: 'query', k: 'key', Wk: 'key', v: 'value', Wv: 'value' };

/** What a symbol is shown by, in whichever formula says so. */
export function instrumentsOf(symbol: SymbolName): readonly string[] {
  const rows = Object.values(FORMULAS).flatMap(({ symbols }) => symbols);
  return rows.find((row) => row.symbol === symbol)?.instruments ?? [];
}

const is: Term = { op: '=' };
const RESIDUAL = ['hats', 'residual'];
const MATRICES = ['hats', 'toy', 'playground'];

export const FORMULAS: Record<FormulaName, Formula> = {
  projection: {
    lines: [
      ['q', is, 'x', 'Wq'],
      ['k', is, 'x', 'Wk'],
      ['v', is, 'x', 'Wv'],
    ],
    symbols: [
      { symbol: 'x', instruments: RESIDUAL },
      { symbol: 'Wq', instruments: MATRICES },
      { symbol: 'Wk', instruments: MATRICES },
      { symbol: 'Wv', instruments: MATRICES },
    ],
  },
  scores: {
    indexed: true,
    lines: [
      [{ at: 's', index: 'ij' }, is, { over: [{ product: ['q', 'i', 'k', 'j'] }], under: [{ root: 'd' }] }],
      [{ at: 'a', index: 'ij' }, is, { over: [{ call: 'exp', of: [{ at: 's', index: 'ij' }] }], under: [{ sum: 'm ≤ i', of: [{ call: 'exp', of: [{ at: 's', index: 'im' }] }] }] }],
    ],
    symbols: [
      { symbol: 'q', instruments: MATRICES },
      { symbol: 'k', instruments: MATRICES },
      { symbol: 'd', instruments: MATRICES },
      { symbol: 's', instruments: ['tie', 'catalogue', 'toy'] },
      { symbol: 'a', instruments: ['tie', 'catalogue'] },
    ],
  },
  blend: {
    lines: [
      [{ at: 'z', index: 'i' }, is, { sum: 'j ≤ i', of: [{ at: 'a', index: 'ij' }, { at: 'v', index: 'j' }] }],
      [{ call: 'write', of: [{ op: 'i' }] }, is, { row: [{ op: '[' }, { at: 'z', index: 'i, 1' }, { op: '…' }, { at: 'z', index: 'i, h' }, { op: ']' }] }, 'Wo'],
    ],
    symbols: [
      { symbol: 'a', instruments: ['tie', 'catalogue'] },
      { symbol: 'v', instruments: ['flow', 'hats'] },
      { symbol: 'z', instruments: ['sum', 'flow'] },
      { symbol: 'Wo', instruments: ['sum', 'flow'] },
    ],
  },
};

/** The lines of Python that reproduce the state with the library and print the same numbers. */
import type { Edit, Special } from './protocol';

export interface Reproduced {
  model: string;
  text: string;
  special: Special;
  /** Those that act, with positions. */
  edits: readonly Edit<number>[];
  head: string;
  query: number;
  /** The position whose prediction is printed; null for a model without an output head. */
  at: number | null;
}

/** More characters than this are imported a line each. */
const LONG = 56;

/** A script that prints the prediction after `at` and the weights with which `query` looks, in the open head. */
export function copyAsPython({ model, text, special, edits, head, query, at }: Reproduced): string {
  const classes = [...new Set(edits.map(({ kind }) => className(kind)))].sort();
  const names = classes.join(', ');
  const lines = [
    'import qkvlab',
    ...(classes.length === 0 ? [] : [`from qkvlab.edits import ${names.length > LONG ? `(\n    ${classes.join(',\n    ')},\n)` : names}`]),
    '',
    `model = qkvlab.open_model(${quoted(model)})`,
    'trace = model.trace(',
    `    ${quoted(text)},`,
    ...(special === true ? [] : [`    special=${special === 'start' ? '"start"' : 'False'},`]),
    ...(edits.length ? ['    edits=[', ...edits.map((edit) => `        ${call(edit)},`), '    ],'] : []),
    ')',
    '',
  ];
  if (at !== null) {
    lines.push(
      `print("after", repr(trace.tokens[${at}]))`,
      `for word, p, logit in qkvlab.predict(trace, ${at}):`,
      '    print(f"{p:10.6f} {logit:10.4f}  {word!r}")',
      '',
    );
  }
  lines.push(
    `print(${quoted(head)}, "from", repr(trace.tokens[${query}]))`,
    `for token, weight in zip(trace.tokens, trace.weights(${quoted(head)})[${query}]):`,
    '    print(f"{weight:10.6f}  {token!r}")',
    '',
  );
  return lines.join('\n');
}

/** A literal that Python reads as this text; what does not print, or changes how a line reads, is escaped. */
export function quoted(text: string): string {
  return JSON.stringify(text).replace(/(?! )[\p{C}\p{Z}]/gu, (char) => {
    const code = char.codePointAt(0)!.toString(16);
    return code.length > 4 ? `\\U${code.padStart(8, '0')}` : `\\u${code.padStart(4, '0')}`;
  });
}

function className(kind: Edit['kind']): string {
  return kind.split('-').map((part) => (part === 'kv' ? 'KV' : part[0]!.toUpperCase() + part.slice(1))).join('');
}

function call(edit: Edit<number>): string {
  const given = Object.entries(edit).filter(([name, value]) => {
    return name !== 'kind' && value !== null && !(name === 'strength' && value === 1);
  });
  return `${className(edit.kind)}(${given.map(([name, value]) => `${name}=${literal(value)}`).join(', ')})`;
}

function literal(value: unknown): string {
  if (Array.isArray(value)) return `(${value.map((x: unknown) => `${literal(x)},`).join(' ')})`;
  return typeof value === 'string' ? quoted(value) : String(value);
}

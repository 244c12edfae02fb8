/** Texts one click away, each opening on a head that shows something. All figures on the page come from the model. */
import type { Say } from './en/playground';

export interface Example {
  /** Of its title in the catalogue. */
  name: keyof Say['sentence']['example'];
  text: string;
  head: string;
  /** The token that looks and the one it looks at: its print, and which of its occurrences in the text (from 0). */
  query: [string, number];
  key: [string, number];
  /** Answers to follow: each one token. */
  tracked: string[];
}

export const EXAMPLES: Example[] = [
  {
    name: 'noun',
    text: 'The cat drank because it was thirsty',
    head: '13.8',
    query: [' it', 0],
    key: [' cat', 0],
    tracked: [],
  },
  {
    name: 'value',
    text: 'In France they speak French. In Italy they speak',
    head: '23.4',
    query: [' speak', 1],
    key: [' Italy', 0],
    tracked: [' Italian', ' French'],
  },
  {
    name: 'repeated',
    text: 'Mrs Dalloway met Mr Ramsay. Later that day, Mrs D',
    head: '18.6',
    query: [' D', 1],
    key: ['allow', 0],
    tracked: ['allow'],
  },
  {
    name: 'code',
    text: 'def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a',
    head: '21.1',
    query: [' a', 2],
    key: [' sub', 0],
    tracked: [' -', ' +'],
  },
  {
    name: 'list',
    text: 'Buy milk, buy bread, buy eggs, buy',
    head: '17.5',
    query: [' buy', 2],
    key: [' eggs', 0],
    tracked: [' milk', ' cheese'],
  },
  {
    name: 'quotes',
    text: 'She said: "I will come." Then he said: "I will',
    head: '5.6',
    query: [' "', 1],
    key: [' "', 0],
    tracked: [],
  },
];

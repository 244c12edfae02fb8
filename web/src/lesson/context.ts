/** What every part of a lesson's page shares: the reading, the desk, and how to go to a sentence. */
import { getContext, setContext } from 'svelte';
import type { Desk } from './desk';
import type { Session } from './session.svelte';

export interface Reading {
  session: Session;
  desk: Desk;
  /** A click on a sentence. */
  toSentence: (n: number) => void;
  /** Large type, one step at a time. */
  presenting: boolean;
}

const KEY = Symbol('reading');

export function share(reading: Reading): void {
  setContext(KEY, reading);
}

export function reading(): Reading {
  return getContext<Reading>(KEY);
}

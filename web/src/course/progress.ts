/** Which modules a person has completed: kept in the browser, and where it keeps nothing, as long as the page is open. */

const KEPT = 'qkvlab.course';

/** What of the browser's storage is used here. */
export interface Keeper {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface Progress {
  done: string[];
  /** The lesson opened last. */
  last: string | null;
}

/** Progress as kept; null where storage is blocked. What is no progress of ours counts as none. */
export function readProgress(keeper: () => Keeper): Progress | null {
  let text: string | null;
  try {
    text = keeper().getItem(KEPT);
  } catch {
    return null;
  }
  try {
    const kept = JSON.parse(text ?? '{}') as Partial<Progress> | null;
    const done = Array.isArray(kept?.done) ? kept.done.filter((module) => typeof module === 'string') : [];
    return { done: [...new Set(done)], last: typeof kept?.last === 'string' ? kept.last : null };
  } catch {
    return { done: [], last: null };
  }
}

/** Whether it could be kept. Nothing to keep leaves nothing behind. */
export function writeProgress(keeper: () => Keeper, progress: Progress): boolean {
  try {
    if (progress.done.length === 0 && progress.last === null) keeper().removeItem(KEPT);
    else keeper().setItem(KEPT, JSON.stringify(progress));
    return true;
  } catch {
    return false;
  }
}

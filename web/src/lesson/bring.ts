/** The instruments, each a file of its own: brought by its name when it comes near. */
import type { Component } from 'svelte';
import type { Desk } from './desk';
import type { Lesson, Settings } from './format';

export interface InstrumentProps<S> {
  settings: S;
  /** As the lesson sets it before anything is said: what "start again" goes back to. */
  initial: S;
  touch: (change: Partial<S>) => void;
  desk: Desk;
  passed?: () => void;
  /** The reader has said what they expect. */
  predicted?: () => void;
}
type Any = Component<InstrumentProps<Settings>>;

const files = import.meta.glob<{ default: Any }>('./instruments/*.svelte');

/** Nothing, where this page has no such instrument. */
export function bring(name: string): Promise<{ default: Any }> | undefined {
  return files[`./instruments/${name}.svelte`]?.();
}

/** The first instrument is on its way while the lesson is laid out. */
export function bringFirst(lesson: Lesson): void {
  const blocks = lesson.sections.flatMap(({ steps }) => steps).flatMap(({ blocks }) => blocks);
  const first = blocks.find((block) => block.kind === 'instrument');
  if (first) bring(first.name)?.catch(() => undefined); // said where it would stand
}

const AHEAD = '600px';
const waiting = new Map<Element, () => void>();
let observer: IntersectionObserver | null = null;

/**
 * Call back once an element comes near the window. One observer for all: it tells in the order of the page, and what
 * stands first asks first. Returns what ends it.
 */
export function whenNear(element: Element, near: () => void): () => void {
  observer ??= new IntersectionObserver(tell, { rootMargin: AHEAD });
  waiting.set(element, near);
  observer.observe(element);
  return () => {
    waiting.delete(element);
    observer?.unobserve(element);
  };
}

function tell(entries: IntersectionObserverEntry[]): void {
  for (const { isIntersecting, target } of entries) if (isIntersecting) waiting.get(target)?.();
}

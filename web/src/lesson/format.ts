/** A compiled lesson, as docs/course.md says: what the build writes and the page reads. */

export type Settings = Record<string, unknown>;

export interface Sentence {
  /** Through the whole lesson, from 0. */
  n: number;
  html: string;
  text: string;
}

export interface Question {
  kind: 'question';
  id: string;
  ask: string;
  answers: string[];
  /** The place of the right answer; null where an instrument's challenge answers it. */
  right: number | null;
  because: string;
  /** Why each answer is not right; empty at the right one, and where the lesson does not say it. */
  wrong: string[];
  /** The id of the instrument whose challenge answers it. */
  instrument: string | null;
}

export type Block =
  | { kind: 'prose'; sentences: Sentence[] }
  | { kind: 'instrument'; name: string; id: string; settings: Settings }
  | { kind: 'aside'; html: string }
  | { kind: 'challenge'; html: string }
  | Question
  | { kind: 'formula'; name: string }
  | { kind: 'reading'; items: { html: string }[] };
export type InstrumentBlock = Extract<Block, { kind: 'instrument' }>;

export interface Step {
  id: string;
  title: string;
  blocks: Block[];
}

export interface Section {
  id: string;
  title: string;
  steps: Step[];
}

/** Before this sentence the instrument takes these settings. */
export interface Cue {
  sentence: number;
  instrument: string;
  set: Settings;
}

export interface Narration {
  audio: string;
  seconds: number;
  /** Where each sentence starts and ends, in seconds. */
  sentences: [number, number][];
}

/** An illustration in both themes; addresses are relative to `course/`. */
export interface Art {
  light: string;
  dark: string;
  alt: string;
  /** The same for a narrow screen, where there is such a form. */
  narrow?: Art | null;
}

export interface Lesson {
  module: string;
  title: string;
  promise: string;
  minutes: number;
  needs: string[];
  hero: Art | null;
  spotlight: Art | null;
  sections: Section[];
  cues: Cue[];
  narration: Narration | null;
  badges: string[];
}

export function stepsOf(lesson: Lesson): Step[] {
  return lesson.sections.flatMap((section) => section.steps);
}

export function blocksOf(lesson: Lesson): Block[] {
  return stepsOf(lesson).flatMap((step) => step.blocks);
}

/** Where an instrument stands: its element's id, for links. */
export function placeOf(instrument: string): string {
  return `instrument-${instrument}`;
}

/** Each instrument block's challenge is the one that follows it: the instrument's id by the block's place in the step. */
export function challengedBy(blocks: Block[], at: number): string | null {
  const before = blocks.slice(0, at).filter((block) => block.kind === 'instrument');
  return before.at(-1)?.id ?? null;
}

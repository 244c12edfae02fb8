/** What the voice has told the instruments: settings at a sentence = defaults + all cues up to it. */
import { blocksOf, stepsOf, type Lesson, type Settings, type Step } from './format';

export type AllSettings = Record<string, Settings>;

/** Every instrument as the lesson sets it before anything is said. */
export function defaultsOf(lesson: Lesson): AllSettings {
  const instruments = blocksOf(lesson).filter((block) => block.kind === 'instrument');
  return Object.fromEntries(instruments.map(({ id, settings }) => [id, settings]));
}

/** Every instrument as it stands while this sentence is spoken; -1: before the first. */
export function settingsAt(lesson: Lesson, sentence: number): AllSettings {
  return withCues(defaultsOf(lesson), lesson, -1, sentence);
}

/** The cues behind one sentence up to another, in order. */
export function withCues(settings: AllSettings, lesson: Lesson, after: number, upTo: number): AllSettings {
  const due = lesson.cues.filter((cue) => cue.sentence > after && cue.sentence <= upTo);
  const inOrder = [...due].sort((one, other) => one.sentence - other.sentence);
  return inOrder.reduce((all, { instrument, set }) => ({ ...all, [instrument]: { ...all[instrument], ...set } }), settings);
}

/** A place where the presenter stops: a step's beginning, or a sentence with cues within it. */
export interface Stop {
  step: Step;
  sentence: number;
}

export function stopsOf(lesson: Lesson): Stop[] {
  let last = -1;
  return stepsOf(lesson).flatMap((step) => {
    const said = step.blocks.flatMap((block) => (block.kind === 'prose' ? block.sentences.map(({ n }) => n) : []));
    const first = said[0] ?? last;
    const cued = said.filter((n) => n > first && lesson.cues.some((cue) => cue.sentence === n));
    last = said.at(-1) ?? last;
    return [first, ...cued].map((sentence) => ({ step, sentence }));
  });
}

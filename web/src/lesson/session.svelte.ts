/** One reading of a lesson: which sentence, how every instrument is set, who holds it, what was passed. */
import { settingsAt, withCues, type AllSettings } from './cues';
import type { Lesson, Settings } from './format';

export class Session {
  readonly lesson: Lesson;
  /** The sentence being spoken, or spoken last; -1 before the first. */
  sentence = $state(-1);
  settings: AllSettings = $state.raw({});
  /** The reader took an instrument while the voice spoke: it waits. */
  held = $state(false);
  passed: ReadonlySet<string> = $state.raw(new Set());
  /** Instruments in which the reader has predicted. */
  predicted: ReadonlySet<string> = $state.raw(new Set());
  /** Hears of a prediction. */
  onPredict: (() => void) | null = null;
  /** What stops the voice, if there is one that speaks. */
  onTouch: (() => boolean) | null = null;

  constructor(lesson: Lesson) {
    this.lesson = lesson;
    this.settings = settingsAt(lesson, -1);
  }

  /** The voice has come to this sentence: cues on the way fire in order. Backwards is a jump. */
  reach(sentence: number): void {
    if (sentence === this.sentence) return;
    if (sentence < this.sentence) return this.jump(sentence);
    this.settings = withCues(this.settings, this.lesson, this.sentence, sentence);
    this.sentence = sentence;
  }

  /** Everything as it is at this sentence, whatever was done before. */
  jump(sentence: number): void {
    this.sentence = sentence;
    this.settings = settingsAt(this.lesson, sentence);
    this.held = false;
  }

  /** What the reader does. It pauses the voice. */
  touch(instrument: string, change: Settings): void {
    this.settings = { ...this.settings, [instrument]: { ...this.settings[instrument], ...change } };
    if (this.onTouch?.()) this.held = true;
  }

  /** The picture as the voice left it. */
  restore(): void {
    this.jump(this.sentence);
  }

  predict(instrument: string): void {
    this.predicted = new Set([...this.predicted, instrument]);
    this.onPredict?.();
  }

  /** Does this sentence show an answer that the reader has not yet predicted? A cue that does more shows another question. */
  awaits(sentence: number): boolean {
    return this.lesson.cues.some(({ sentence: at, instrument, set }) => {
      return at === sentence && set['reveal'] === true && Object.keys(set).length === 1 && !this.predicted.has(instrument);
    });
  }

  pass(instrument: string): void {
    if (!this.passed.has(instrument)) this.passed = new Set([...this.passed, instrument]);
  }
}

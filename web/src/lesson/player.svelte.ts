/** The voice: moves the session from sentence to sentence, and waits while the reader holds an instrument. */
import { sentenceAt } from './clock';
import type { Narration } from './format';
import type { Session } from './session.svelte';

/** What of an audio element is used here. */
export interface Sound {
  currentTime: number;
  playbackRate: number;
  readonly paused: boolean;
  play(): Promise<void>;
  pause(): void;
}

export class Player {
  playing = $state(false);
  time = $state(0);
  rate = $state(1);
  broken = $state(false);
  /** It waits for the reader to predict, before the answer is shown. */
  waiting = $state(false);
  /** The page scrolls with the voice, until the reader scrolls away. */
  follows = $state(true);

  readonly narration: Narration;
  readonly #session: Session;
  readonly sound: Sound;
  /** Sentences that were waited for once: whoever plays on without a prediction is not asked again. */
  #waited = new Set<number>();

  constructor(narration: Narration, session: Session, sound: Sound) {
    this.narration = narration;
    this.#session = session;
    this.sound = sound;
    session.onTouch = () => {
      const spoke = this.playing;
      if (spoke) this.pause();
      return spoke;
    };
    session.onPredict = () => this.waiting && this.play();
  }

  /** Speak on; what the reader changed meanwhile goes back to where the voice left it. */
  play(): void {
    if (this.time >= this.narration.seconds) this.seek(0);
    else this.#session.restore();
    this.follows = true;
    this.waiting = false;
    this.playing = true;
    this.sound.play().catch((error: Error) => {
      this.playing = false;
      this.broken ||= error.name !== 'AbortError';
    });
  }

  pause(): void {
    this.playing = false;
    this.sound.pause();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  seek(time: number): void {
    this.time = Math.max(0, Math.min(time, this.narration.seconds));
    this.waiting = false;
    this.sound.currentTime = this.time;
    this.#session.jump(sentenceAt(this.narration.sentences, this.time));
    this.follows = true;
  }

  toSentence(n: number): void {
    const sentence = this.narration.sentences[Math.max(0, Math.min(n, this.narration.sentences.length - 1))];
    if (sentence) this.seek(sentence[0]);
  }

  speed(rate: number): void {
    this.rate = rate;
    this.sound.playbackRate = rate;
  }

  /** Called as time goes by. */
  tick(): void {
    if (!this.playing) return;
    this.time = this.sound.currentTime;
    const sentence = sentenceAt(this.narration.sentences, this.time);
    if (sentence === this.#session.sentence + 1 && this.#session.awaits(sentence) && !this.#waited.has(sentence)) return this.#wait(sentence);
    this.#session.reach(sentence);
  }

  /** Before the first word of a sentence that shows the answer. */
  #wait(sentence: number): void {
    this.#waited.add(sentence);
    this.pause();
    this.waiting = true;
    this.time = this.narration.sentences[sentence]![0]; // the sound stands a frame behind it, in the pause between two
  }

  ended(): void {
    this.tick();
    this.time = this.narration.seconds;
    this.playing = false;
  }
}

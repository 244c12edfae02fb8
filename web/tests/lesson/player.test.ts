import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Lesson } from '../../src/lesson/format';
import { Player, type Sound } from '../../src/lesson/player.svelte';
import { Session } from '../../src/lesson/session.svelte';

const lesson = JSON.parse(readFileSync(new URL('22.json', import.meta.url), 'utf8')) as Lesson;

class Tape implements Sound {
  currentTime = 0;
  playbackRate = 1;
  paused = true;
  play(): Promise<void> {
    this.paused = false;
    return Promise.resolve();
  }
  pause(): void {
    this.paused = true;
  }
}

let tape: Tape;
let session: Session;
let player: Player;
const runTo = (time: number) => {
  tape.currentTime = time;
  player.tick();
};
const change = () => session.settings['italy']!['change'];

beforeEach(() => {
  tape = new Tape();
  session = new Session(lesson);
  player = new Player(lesson.narration!, session, tape);
});

describe('the voice', () => {
  test('waits before an answer that the reader may predict, and goes on with the prediction or when it is told to', () => {
    const toTheQuestion = () => {
      player.play();
      for (let time = 0; time < 9 && player.playing; time += 0.5) runTo(time);
    };
    toTheQuestion();
    expect([player.waiting, player.playing, tape.paused, session.sentence]).toEqual([true, false, true, 1]);
    expect(session.settings['cards']!['reveal']).toBeUndefined();
    player.play();
    runTo(tape.currentTime + 0.1);
    expect([player.waiting, session.sentence, session.settings['cards']!['reveal']]).toEqual([false, 2, true]);
    session = new Session(lesson);
    tape = new Tape();
    player = new Player(lesson.narration!, session, tape);
    toTheQuestion();
    session.predict('cards');
    expect([player.waiting, player.playing, tape.paused]).toEqual([false, true, false]);
    runTo(tape.currentTime + 0.1);
    expect(session.sentence).toBe(2);
    player.seek(0);
    runTo(player.narration.sentences[2]![0] + 0.1);
    expect([player.waiting, session.sentence]).toEqual([false, 2]);
  });

  test('fires cues in order as it goes', () => {
    session.predict('cards');
    player.play();
    const seen: unknown[] = [];
    for (let time = 0; time < 21; time += 0.5) {
      runTo(time);
      seen.push([session.sentence, session.settings['cards']!['reveal'] ?? false, change() ?? 'none'].join());
    }
    expect([...new Set(seen)]).toEqual(['0,false,none', '1,false,none', '2,true,none', '3,true,none', '4,true,none', '5,true,mute', '6,true,aim']);
  });

  test('misses no cue when time leaps, and takes them back when it is set back', () => {
    player.play();
    runTo(20);
    expect([session.sentence, change()]).toEqual([6, 'aim']);
    player.seek(15.5);
    expect([session.sentence, change(), tape.currentTime]).toEqual([5, 'mute', 15.5]);
    player.toSentence(0);
    expect([session.sentence, change(), session.settings['cards']!['reveal']]).toEqual([0, undefined, undefined]);
  });

  test('pauses when the reader takes an instrument, and resumes with everything put back', () => {
    player.play();
    runTo(16);
    session.touch('italy', { change: 'swap' });
    session.touch('cards', { text: 'another' });
    expect([player.playing, tape.paused, session.held, change()]).toEqual([false, true, true, 'swap']);
    runTo(20);
    expect(session.sentence).toBe(5); // a held voice does not move
    tape.currentTime = 16;
    player.play();
    expect([player.playing, session.held, change(), session.settings['cards']!['text']]).toEqual([
      true, false, 'mute', 'The cat drank because it was thirsty',
    ]);
  });

  test('is not held by a touch while it is silent', () => {
    session.touch('italy', { change: 'mute' });
    expect([session.held, change()]).toEqual([false, 'mute']);
  });

  test('starts again from the beginning after its end', () => {
    player.play();
    runTo(20.9);
    player.ended();
    expect([player.playing, player.time]).toEqual([false, 21]);
    player.play();
    expect([player.time, session.sentence, change()]).toEqual([0, 0, undefined]);
  });

  test('a recording that cannot be played is said, an interrupted start is not', async () => {
    tape.play = () => Promise.reject(Object.assign(new Error('interrupted'), { name: 'AbortError' }));
    player.play();
    await Promise.resolve().then(() => undefined);
    expect([player.playing, player.broken]).toEqual([false, false]);
    tape.play = () => Promise.reject(Object.assign(new Error('no such file'), { name: 'NotSupportedError' }));
    player.play();
    await Promise.resolve().then(() => undefined);
    expect([player.playing, player.broken]).toEqual([false, true]);
  });

  test('speeds up and clips what lies outside', () => {
    player.speed(1.5);
    player.seek(99);
    expect([tape.playbackRate, tape.currentTime]).toEqual([1.5, 21]);
    player.toSentence(-3);
    expect(player.time).toBe(0);
  });
});

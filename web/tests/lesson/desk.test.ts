import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ModelInfo, Reply } from '../../src/core/protocol';
import { Desk, recordedDesk, type Hear } from '../../src/lesson/desk';
import { wordIn } from '../../src/lesson/naming';
import { complete, Probe } from '../../src/lesson/probe.svelte';
import { canonical, readRecording, recordingName } from '../../src/lesson/recordings';
import { sha256 } from '../../src/lesson/sha256';
import { frame } from '../frames';

const INFO = { name: 'smollm2', badge: 'a model', scale: 1, causal: true, window: null, windowed_layers: [], rotation: null } as unknown as ModelInfo;

/** A server that answers when told to. */
class Server {
  asked: { lane: string; fields: { text?: string }; hear: Hear }[] = [];
  desk = new Desk({ ask: (lane, fields, hear) => void this.asked.push({ lane, fields, hear }) });

  answer(at: number, part: string, fields: object = {}): void {
    const { lane, hear } = this.asked[at]!;
    hear({ id: at, lane, part, ...fields } as unknown as Reply, new Map());
  }
  get texts(): (string | undefined)[] {
    return this.asked.map(({ fields }) => fields.text);
  }
}

describe('the desk', () => {
  const ask = (server: Server, owner: object, text: string, heard: string[] = [], lane = 'view') =>
    server.desk.ask(owner, lane, { text }, (reply) => heard.push(`${text}:${reply.part}`));

  test('sends one request at a time, first come first served', () => {
    const [server, heard] = [new Server(), [] as string[]];
    for (const text of ['a', 'b', 'c']) ask(server, {}, text, heard);
    expect(server.texts).toEqual(['a']);
    server.answer(0, 'tokens');
    expect(server.texts).toEqual(['a']);
    server.answer(0, 'done');
    server.answer(1, 'error');
    expect(server.texts).toEqual(['a', 'b', 'c']);
    expect(heard).toEqual(['a:tokens', 'a:done', 'b:error']);
  });

  test('a newer request of a probe takes the place of its older one', () => {
    const server = new Server();
    const [mine, yours] = [{}, {}];
    ask(server, {}, 'first');
    ask(server, mine, 'old');
    ask(server, yours, 'other');
    ask(server, mine, 'new');
    server.answer(0, 'done');
    server.answer(1, 'done');
    expect(server.texts).toEqual(['first', 'new', 'other']);
  });

  test('what the reader changes goes before instruments that come near', () => {
    const server = new Server();
    const [mine, yours] = [{}, {}];
    for (const owner of [mine, yours]) ask(server, owner, 'opening');
    server.answer(0, 'done');
    server.answer(1, 'done');
    for (const text of ['near', 'nearer', 'nearest']) ask(server, {}, text);
    ask(server, mine, 'mine');
    ask(server, yours, 'yours');
    for (let at = 2; at < 7; at++) server.answer(at, 'done');
    expect(server.texts.slice(2)).toEqual(['near', 'mine', 'yours', 'nearer', 'nearest']);
  });

  test('one in flight is overtaken by the same probe, and no longer heard', () => {
    const [server, heard, mine] = [new Server(), [] as string[], {}];
    ask(server, mine, 'old', heard);
    ask(server, {}, 'other', heard);
    ask(server, mine, 'new', heard);
    expect(server.texts).toEqual(['old', 'new']);
    server.answer(0, 'dropped');
    expect(server.texts).toEqual(['old', 'new']);
    server.answer(1, 'done');
    expect(server.texts).toEqual(['old', 'new', 'other']);
    expect(heard).toEqual(['new:done']);
  });

  test('what takes seconds does not hold up the rest', () => {
    const server = new Server();
    ask(server, {}, 'slow', [], 'ablate');
    ask(server, {}, 'slower', [], 'ablate');
    ask(server, {}, 'quick');
    expect(server.texts).toEqual(['slow', 'quick']);
  });

  test('a probe that is gone is not asked for', () => {
    const [server, heard, gone] = [new Server(), [] as string[], {}];
    ask(server, {}, 'a', heard);
    ask(server, gone, 'b', heard);
    server.desk.leave(gone);
    server.answer(0, 'done');
    expect(server.texts).toEqual(['a']);
  });

  test('opens a model once for all who ask, and again after an error', () => {
    const [server, heard] = [new Server(), [] as string[]];
    const errors: string[] = [];
    server.desk.open('smollm2', () => heard.push('lost'), (message) => errors.push(message));
    server.answer(0, 'error', { message: 'no such model' });
    for (const who of ['one', 'two']) server.desk.open('smollm2', ({ badge }) => heard.push(`${who}:${badge}`));
    server.answer(1, 'opened', { model: INFO });
    server.answer(1, 'done');
    server.desk.open('smollm2', () => heard.push('three'));
    expect(server.asked.map(({ lane }) => lane)).toEqual(['open', 'open']);
    expect([heard, errors]).toEqual([['one:a model', 'two:a model', 'three'], ['no such model']]);
  });
});

describe('a probe', () => {
  const tokens = { tokens: ['a', 'b'], offsets: [[0, 1], [1, 2]], special: [false, false], n_token: 2, query: 1, key: null, at: 1, edits: [], refused: [] };
  const prediction = (p: number) => ({ at: 1, rows: [{ id: 1, text: 'x', before: { p, logit: 0 }, after: { p, logit: 0 } }], tracked: [] });

  function opened(): { server: Server; probe: Probe } {
    const server = new Server();
    server.desk.welcome({ part: 'welcome', protocol: 1, version: '0', models: [], opened: INFO });
    return { server, probe: new Probe(server.desk) };
  }

  test('shows an answer when it is whole, and none of an older question', () => {
    const { server, probe } = opened();
    probe.ask('view', { text: 'ab', heads: ['0.0'], parts: ['prediction'] });
    server.answer(0, 'tokens', tokens);
    server.answer(0, 'prediction', prediction(0.5));
    expect([probe.picture, probe.pending]).toEqual([null, true]);
    server.answer(0, 'done');
    expect([probe.picture?.prediction?.rows[0]?.after.p, probe.pending]).toEqual([0.5, false]);
    probe.ask('view', { text: 'ac', heads: ['0.0'], parts: ['prediction'] });
    probe.ask('view', { text: 'ad', heads: ['0.0'], parts: ['prediction'] });
    server.answer(1, 'tokens', tokens);
    server.answer(1, 'done');
    expect(probe.picture?.text).toBe('ab');
    server.answer(2, 'tokens', tokens);
    server.answer(2, 'done');
    expect([probe.picture?.text, probe.picture?.prediction]).toEqual(['ad', null]);
  });

  test('shows a measurement as it comes', () => {
    const { server, probe } = opened();
    probe.ask('sharing', {});
    server.answer(0, 'sharing', { done: 1, total: 2 });
    expect(probe.sharing).toMatchObject({ done: 1, total: 2 });
    server.answer(0, 'sharing', { done: 2, total: 2, order: [1, 0] });
    expect(probe.sharing).toMatchObject({ done: 2, order: [1, 0] });
  });

  test('keeps the parts of a lane that it does not know', () => {
    const { server, probe } = opened();
    probe.ask('symmetry', {});
    server.answer(0, 'symmetry', { heads: 270 });
    server.answer(0, 'done');
    expect(probe.answers.get('symmetry')?.[0]?.reply).toMatchObject({ part: 'symmetry', heads: 270 });
  });

  test('says when its model cannot be opened', () => {
    const server = new Server();
    const probe = new Probe(server.desk);
    probe.ask('view', { text: 'a', heads: [], parts: [] });
    server.answer(0, 'error', { message: 'no such model' });
    expect([probe.error, probe.pending, server.asked.length]).toEqual(['no such model', false, 1]);
  });

  test('says what went wrong', () => {
    const { server, probe } = opened();
    probe.ask('view', { text: '', heads: [], parts: [] });
    server.answer(0, 'error', { message: 'no text' });
    expect([probe.error, probe.pending]).toEqual(['no text', false]);
  });
});

describe('recordings', () => {
  test('SHA-256 is the standard one', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      expect(sha256(text)).toBe(createHash('sha256').update(text, 'utf8').digest('hex'));
    }));
  });

  test('the canonical form knows no order of keys, and no fields left out', () => {
    expect(canonical({ b: [1, { d: null, c: ' it' }], a: 0.25, z: undefined })).toBe('{"a":0.25,"b":[1,{"c":" it","d":null}]}');
    const name = recordingName('open', { model: 'smollm2' });
    expect(name).toBe(`${createHash('sha256').update('{"lane":"open","model":"smollm2"}').digest('hex')}.bin`);
    const view = complete('view', { text: 'ab', heads: ['0.0'], parts: ['head'] });
    expect(canonical(view)).toBe('{"at":null,"edits":[],"heads":["0.0"],"key":null,"model":"smollm2","parts":["head"],"query":null,"text":"ab","tracked":[]}');
  });

  const recording = (...frames: (object | ArrayBuffer)[]): ArrayBuffer => {
    const parts = frames.flatMap((one) => {
      const bytes = one instanceof ArrayBuffer ? new Uint8Array(one) : new TextEncoder().encode(JSON.stringify(one));
      const head = new Uint8Array(5);
      new DataView(head.buffer).setUint32(0, bytes.length, true);
      head[4] = one instanceof ArrayBuffer ? 1 : 0;
      return [...head, ...bytes];
    });
    return Uint8Array.from(parts).buffer;
  };

  test('hold frames of both kinds', () => {
    const numbers = frame({ part: 'effect', at: 1 }, [{ name: 'direct', dtype: 'F32', shape: [1, 2], data: Float32Array.of(1, 2) }]);
    const answers = readRecording(recording({ part: 'tokens' }, numbers, { part: 'done' }));
    expect(answers.map(({ reply }) => reply.part)).toEqual(['tokens', 'effect', 'done']);
    expect([...answers[1]!.tensors.get('direct')!.data]).toEqual([1, 2]);
  });

  test('answer like a server; what is missing or damaged is said', async () => {
    const open = recordingName('open', { model: 'smollm2' });
    const broken = recordingName('view', { text: 'cut' });
    const files: Record<string, ArrayBuffer> = {
      [open]: recording({ part: 'opened', model: INFO }, { part: 'done' }),
      [broken]: recording({ part: 'tokens' }).slice(0, 9),
    };
    const desk = recordedDesk('', null, (url) => Promise.resolve(files[url] ?? null));
    expect(desk.live).toBe(false);
    const badge = await new Promise((resolve) => desk.open('smollm2', (info) => resolve(info.badge)));
    expect(badge).toBe('a model');
    const failed = (text: string) => new Promise((resolve) => desk.ask({}, 'view', { text }, (reply) => resolve(reply.part === 'error' && reply.kind)));
    expect(await failed('new')).toBe('NotRecorded');
    expect(await failed('cut')).toBe('BrokenRecording');
    expect(desk.holds('view', { text: 'new' })).toBe(true); // not known before it is asked
  });

  test('answer for every set of a layer’s heads from one table', async () => {
    const off = (...heads: string[]) => heads.map((where) => ({ kind: 'ablate', where, to: 'zero', strength: 1 }));
    const view = { text: 'a b', at: null, edits: [] as object[], parts: ['prediction'] };
    const name = recordingName('view', { ...view, switched: 2 });
    const columns = 2 + 1 + 1; // two most probable words here, one before, one that is followed
    const rows = (from: number) => Float32Array.from({ length: 4 * columns }, (_, i) => from + i);
    const table = frame({ part: 'switched', tokens: { part: 'tokens', at: 1 }, earlier: [7], tracked: [9], words: [' x', ' y', ' z', ' w'] }, [
      { name: 'most', dtype: 'I32', shape: [4, 2], data: Int32Array.of(7, 8, 7, 8, 8, 5, 8, 7) },
      { name: 'ids', dtype: 'I32', shape: [4], data: Int32Array.of(5, 7, 8, 9) },
      { name: 'p', dtype: 'F32', shape: [4, columns], data: rows(0) },
      { name: 'logit', dtype: 'F32', shape: [4, columns], data: rows(100) },
      { name: 'p_before', dtype: 'F32', shape: [4], data: Float32Array.of(0.5, 0.25, 0.125, 0) },
      { name: 'logit_before', dtype: 'F32', shape: [4], data: Float32Array.of(1, 2, 3, 4) },
    ]);
    const kept = { version: '1', day: '2026-11-30', names: new Set([name.slice(0, -4)]) };
    const desk = recordedDesk('', kept, (url) => Promise.resolve(url === name ? recording(table) : null));
    const heard = (edits: object[]) =>
      new Promise<Reply[]>((resolve) => {
        const replies: Reply[] = [];
        desk.ask({}, 'view', { ...view, edits }, (reply) => {
          replies.push(reply);
          if (reply.part === 'done' || reply.part === 'error') resolve(replies);
        });
      });
    const [tokens, prediction, done] = await heard(off('2.1'));
    expect([tokens!.part, done!.part]).toEqual(['tokens', 'done']);
    expect(prediction).toMatchObject({
      at: 1,
      rows: [
        { id: 8, text: ' z', before: { p: 0.125, logit: 3 }, after: { p: 8, logit: 108 } },
        { id: 5, text: ' x', before: { p: 0.5, logit: 1 }, after: { p: 9, logit: 109 } },
        { id: 7, text: ' y', before: { p: 0.25, logit: 2 }, after: { p: 10, logit: 110 } },
      ],
      tracked: [{ id: 9, text: ' w', before: { p: 0, logit: 4 }, after: { p: 11, logit: 111 } }],
    });
    const [, both] = await heard(off('2.0', '2.1'));
    expect(both).toMatchObject({ rows: [{ id: 8, after: { p: 12 } }, { id: 7, after: { p: 13 } }] });
    expect((await heard(off('2.0', '3.1')))[0]).toMatchObject({ part: 'error', kind: 'NotRecorded' });
    const mean = off('2.0').map((edit) => ({ ...edit, to: 'mean' }));
    expect((await heard(mean))[0]).toMatchObject({ part: 'error', kind: 'NotRecorded' });
    expect([desk.holds('view', { ...view, edits: off('2.0') }), desk.holds('view', { ...view, edits: off('3.0') })]).toEqual([true, false]);
  });

  test('know what they hold, where the folder says it', () => {
    const names = new Set([recordingName('view', { text: 'kept' }).slice(0, -4)]);
    const desk = recordedDesk('', { version: '1', day: '2026-11-24', names });
    expect([desk.holds('view', { text: 'kept' }), desk.holds('view', { text: 'new' })]).toEqual([true, false]);
  });
});

test('a word is named by its characters, in code points, and not as the beginning of another', () => {
  expect(wordIn('The cat drank because it was thirsty', ' it')).toEqual([21, 24]);
  expect(wordIn('In Italy it is. 😀 it', ' it', -1)).toEqual([17, 20]);
  expect(wordIn('They speak. They speak', ' speak', -1)).toEqual([16, 22]);
  expect(wordIn('An item', ' it')).toBeNull();
  expect(wordIn('', '')).toBeNull();
});

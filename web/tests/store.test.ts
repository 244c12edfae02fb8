import { expect, test } from 'vitest';
import type { Part, PredictionRow } from '../src/core/protocol';
import type { Socket } from '../src/core/transport';
import { Lab } from '../src/store.svelte';
import { frame } from './frames';

const INFO = { name: 'smollm2', n_layer: 2, n_head: 2, n_kv_head: 1, d_head: 4, has_output: true, causal: true };

class Server implements Socket {
  binaryType: BinaryType = 'blob';
  asked: { id: number; lane: string; text: string; parts: Part[]; edits: object[]; busy: string | null }[] = [];
  #listeners: Record<string, ((event: { data: unknown }) => void)[]> = {};

  send(data: string): void {
    this.asked.push(JSON.parse(data));
  }
  close(): void {}
  addEventListener(type: string, listener: (event: { data: unknown }) => void): void {
    (this.#listeners[type] ??= []).push(listener);
  }
  emit(type: string, data?: object): void {
    this.#tell(type, JSON.stringify(data));
  }
  #tell(type: string, data: unknown): void {
    for (const listener of this.#listeners[type] ?? []) listener({ data });
  }
  /** A head's arrays, of one token. */
  head(request: number, head: string): void {
    const { id, lane } = this.asked[request]!;
    const array = (name: string) => ({ name, dtype: 'F32', shape: [1], data: new Float32Array(1) });
    const reply = { id, lane, part: 'head', head, query: 0, readers: [], rule: null };
    this.#tell('message', frame(reply, ['q', 'k', 'v', 'x', 'value_lengths', 'gram'].map(array)));
  }
  answer(request: number, part: string, fields: object = {}): void {
    const { id, lane } = this.asked[request]!;
    this.emit('message', { id, lane, part, ...fields });
  }
  tokens(request: number, tokens: string[]): void {
    const offsets = tokens.map((_, i) => [i, i + 1]);
    const [query, special] = [tokens.length - 1, tokens.map(() => false)];
    this.answer(request, 'tokens', { tokens, offsets, special, n_token: tokens.length, query, key: null, at: query, edits: [], refused: [] });
  }
  prediction(request: number, p: number): void {
    const row: PredictionRow = { id: 1, text: 'x', before: { p: 0.5, logit: 0 }, after: { p, logit: 0 } };
    this.answer(request, 'prediction', { at: 0, rows: [row], tracked: [] });
  }
}

function opened(url = 'ws://127.0.0.1/ws'): { lab: Lab; server: Server; stop: () => void } {
  const [lab, server] = [new Lab(), new Server()];
  lab.text = 'ab';
  lab.head = '0.0';
  const stop = lab.start(url, () => server);
  server.emit('open');
  server.emit('message', { part: 'welcome', protocol: 1, version: '0', models: [], opened: INFO });
  lab.server.ask();
  return { lab, server, stop };
}

const pause = (ms: number) => new Promise((later) => setTimeout(later, ms));

const shown = (lab: Lab) => lab.shown?.prediction?.rows[0]?.after.p;

test('an answer that comes after the state went back is asked for again', () => {
  const { lab, server, stop } = opened();
  server.tokens(0, ['a', 'b']);
  server.prediction(0, 0.5);
  server.answer(0, 'done');
  expect(server.asked[1]!.parts).toEqual(['overview', 'words']);
  server.answer(1, 'done');
  lab.addEdit({ kind: 'ablate', where: '0.0', to: 'zero', strength: 1 });
  lab.server.ask();
  lab.undo();
  lab.server.ask();
  server.prediction(2, 0.9);
  server.answer(2, 'done');
  expect([shown(lab), server.asked.length]).toEqual([0.9, 4]);
  expect(server.asked[3]).toMatchObject({ edits: [], parts: expect.arrayContaining(['prediction']) });
  server.prediction(3, 0.5);
  server.answer(3, 'done');
  expect(shown(lab)).toBe(0.5);
  stop();
});

test('another head of the same text is asked for at once, another text once the one before has come', () => {
  const { lab, server, stop } = opened();
  lab.openHead('1.0');
  lab.server.ask();
  expect(server.asked.map(({ text }) => text)).toEqual(['ab', 'ab']);
  lab.type('abc', 3);
  lab.server.ask();
  expect(server.asked).toHaveLength(2);
  server.answer(1, 'done');
  expect(server.asked.at(-1)).toMatchObject({ text: 'abc', heads: ['1.0'] });
  stop();
});

test.each([
  ['ws://127.0.0.1:7400/ws', 'drawing', 'dragging'],
  ['ws://localhost/ws', 'drawing', 'dragging'],
  ['ws://[::1]:7400/ws', 'drawing', 'dragging'],
  ['wss://lab.example/ws', null, null],
  ['ws://127.example/ws', null, null],
])('to %s it says that it is %s, then %s', async (url, drawing, dragging) => {
  const { lab, server, stop } = opened(url);
  expect(server.asked[0]!.busy).toBe(drawing);
  server.tokens(0, ['a', 'b']);
  server.answer(0, 'done');
  expect(server.asked[1]!.busy).toBeNull();
  server.answer(1, 'done');
  lab.dragTo({ q: new Float32Array(4), edit: { kind: 'shift-query', head: '0.0', query: 1, shift: [1, 0, 0, 0], strength: 1 } });
  lab.server.ask();
  await pause(150); // a drag asks ten times a second
  expect(server.asked.at(-1)).toMatchObject({ parts: ['prediction'], busy: dragging });
  stop();
});

test('however often more is asked, a picture that nothing answers is late', async () => {
  const { lab, server, stop } = opened();
  for (const more of 'cdefgh') {
    await pause(60);
    lab.type(lab.text + more, lab.text.length + 1);
    lab.server.ask();
  }
  expect(lab.stale).toBe('all');
  server.answer(server.asked.length - 1, 'done'); // the others were overtaken
  expect(lab.stale).toBeNull();
  stop();
});

test('a picture is late from when something else was asked for, and not from when the first question was', async () => {
  const { lab, server, stop } = opened();
  await pause(120);
  lab.type('abc', 3);
  lab.server.ask();
  server.tokens(0, ['a', 'b']);
  server.head(0, '0.0');
  await pause(120);
  expect(lab.stale, 'the text on screen has been another for 120 ms').toBeNull();
  await pause(120);
  expect(lab.stale).toBe('all');
  server.answer(0, 'done');
  server.tokens(1, ['a', 'b', 'c']);
  server.head(1, '0.0');
  await pause(240);
  expect(lab.stale, 'the newest head is there').toBe('rest');
  stop();
});

test('two heads side by side are shown together', () => {
  const { lab, server, stop } = opened();
  server.answer(0, 'done');
  server.answer(1, 'done');
  lab.pinned = '1.1';
  lab.server.ask();
  server.tokens(2, ['a', 'b']);
  server.head(2, '0.0');
  expect(lab.shown?.open ?? null).toBeNull();
  server.head(2, '1.1');
  expect([lab.shown?.open?.reply.head, lab.shown?.pinned?.reply.head]).toEqual(['0.0', '1.1']);
  stop();
});

test('at rest it asks once what the followed answer would be without the open head', async () => {
  const { lab, server, stop } = opened();
  lab.tracked = ['x'];
  lab.server.ask();
  server.answer(0, 'done');
  for (let request = 1; request < server.asked.length; request++) {
    if (request === 1) server.tokens(1, ['a', 'b']);
    if (request === 1) server.answer(1, 'prediction', { at: 1, rows: [], tracked: [{ id: 1, text: 'x', before: { p: 0.9, logit: 0 }, after: { p: 0.9, logit: 0 } }] });
    server.answer(request, 'done');
  }
  const before = server.asked.length;
  await pause(1100);
  expect(server.asked.slice(before).map(({ lane }) => lane)).toEqual(['without']);
  server.answer(before, 'without', { head: '0.0', at: 1, effect: 1, p: 0.4 });
  expect(lab.withoutHead('0.0')).toEqual({ text: 'x', now: 0.9, p: 0.4 });
  expect(lab.withoutHead('1.0')).toBeNull();
  lab.server.ask();
  await pause(1100);
  expect(server.asked).toHaveLength(before + 1);
  stop();
});

test('a text that comes back after an empty one is asked for again', () => {
  const { lab, server, stop } = opened();
  server.tokens(0, ['a', 'b']);
  server.prediction(0, 0.5);
  server.answer(0, 'done');
  server.answer(1, 'done');
  lab.type('', 0);
  lab.server.ask();
  server.tokens(2, []);
  server.answer(2, 'done');
  server.answer(3, 'done');
  expect(lab.shown?.prediction).toBeNull();
  expect(server.asked, 'an empty text is not asked for over and over').toHaveLength(4);
  lab.type('ab', 2, true);
  lab.server.ask();
  expect(server.asked[4]!.parts).toContain('prediction');
  stop();
});

test('a query that is gone comes back by undo, not by writing the same again', () => {
  const { lab, server, stop } = opened();
  server.tokens(0, ['a', 'b']);
  server.answer(0, 'done');
  const looks = () => lab.query !== null && typeof lab.query !== 'number' && !lab.query.lost;
  lab.query = lab.place(0);
  lab.type('', 0);
  lab.type('ab', 2);
  expect(looks()).toBe(false);
  lab.type('', 0);
  lab.type('ab', 2, true);
  expect(looks()).toBe(true);
  stop();
});

test('a token of a picture that the text has left behind is named by its characters', () => {
  const { lab, server, stop } = opened();
  server.tokens(0, ['a', 'b']);
  server.answer(0, 'done');
  lab.type('xab', 1);
  expect(lab.place(1)).toMatchObject({ start: 2, end: 3, text: 'b' });
  stop();
});

test('a part that has not come names the tokens it speaks of, and not those of the picture', () => {
  const { lab, server, stop } = opened();
  const named = () => lab.token(lab.tokensOf('prediction')?.query, 'prediction');
  server.tokens(0, ['a', 'b']);
  server.prediction(0, 0.5);
  server.answer(0, 'done');
  server.answer(1, 'done');
  lab.type('abc', 3);
  lab.server.ask();
  server.tokens(2, ['a', 'b', 'c']);
  server.answer(2, 'done');
  expect([lab.token(lab.queryAt), named()]).toEqual(['c', 'b']);
  server.answer(3, 'done');
  lab.type('abcd', 4);
  lab.server.ask();
  server.tokens(4, ['a', 'b', 'c', 'd']);
  server.prediction(4, 0.9);
  server.answer(4, 'done');
  expect([lab.token(lab.queryAt), named()]).toEqual(['d', 'd']);
  server.answer(5, 'done');
  lab.key = 0;
  lab.server.ask();
  expect(server.asked[6]!.parts).not.toContain('prediction');
  server.tokens(6, ['a', 'b', 'c', 'd']);
  server.answer(6, 'done');
  expect(lab.tokensOf('prediction'), 'what still holds speaks of the picture as it is').toBe(lab.shown?.tokens);
  stop();
});

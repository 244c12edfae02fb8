import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { LaneFields, Reply } from '../src/core/protocol';
import { LARGEST_FRAME, Transport, type Socket, type Status } from '../src/core/transport';
import { frame } from './frames';

class FakeSocket implements Socket {
  binaryType: BinaryType = 'blob';
  sent: { id: number; lane: string; text?: string }[] = [];
  closed = false;
  #listeners: Record<string, ((event: { data: unknown }) => void)[]> = {};

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }
  close(): void {
    this.closed = true;
  }
  addEventListener(type: string, listener: (event: { data: unknown }) => void): void {
    (this.#listeners[type] ??= []).push(listener);
  }
  emit(type: 'open' | 'close' | 'message', data?: unknown): void {
    for (const listener of this.#listeners[type] ?? []) listener({ data });
  }
  answer(request: number, part: string): void {
    const { id, lane } = this.sent[request]!;
    this.emit('message', JSON.stringify({ id, lane, part }));
  }
}

const view = (text: string): LaneFields['view'] => ({
  model: 'smollm2', text, edits: [], heads: ['13.8'], query: null, key: null, at: null, tracked: [], parts: ['head'],
});
const texts = (socket: FakeSocket) => socket.sent.map(({ text }) => text);

let sockets: FakeSocket[];
let statuses: Status[];
let broken: string[];
let transport: Transport;
let stop: () => void;
let heard: string[];
const hear = (name: string) => (reply: Reply) => void heard.push(`${name}:${reply.part}`);

beforeEach(() => {
  vi.useFakeTimers();
  [sockets, statuses, broken, heard] = [[], [], [], []];
  transport = new Transport({
    url: 'ws://127.0.0.1:7400/ws',
    onStatus: (status) => statuses.push(status),
    onWelcome: ({ version }) => heard.push(`welcome:${version}`),
    onBroken: (error) => broken.push(error.message),
    connect: () => sockets[sockets.push(new FakeSocket()) - 1]!,
  });
  stop = transport.start();
});

afterEach(() => {
  stop();
  vi.useRealTimers();
});

const opened = (): FakeSocket => {
  sockets.at(-1)!.emit('open');
  return sockets.at(-1)!;
};

test('after its end nothing is sent, and nothing breaks', () => {
  const socket = opened();
  transport.ask('view', view('a'), hear('a'));
  stop();
  transport.ask('view', view('ab'), hear('ab'));
  transport.ask('effect', { ...view('a'), tracked: [1] }, hear('effect'));
  vi.advanceTimersByTime(60_000);
  expect([texts(socket), socket.closed, sockets.length]).toEqual([['a'], true, 1]);
});

describe('a lane', () => {
  test('asks at once, and hears every part until done', () => {
    const socket = opened();
    transport.ask('view', view('a'), hear('a'));
    for (const part of ['tokens', 'prediction', 'done']) socket.answer(0, part);
    expect(heard).toEqual(['a:tokens', 'a:prediction', 'a:done']);
    expect(socket.sent[0]).toMatchObject({ id: 1, lane: 'view', text: 'a', heads: ['13.8'] });
  });

  test('keeps one in flight and only the latest waiting', () => {
    const socket = opened();
    for (const text of ['a', 'ab', 'abc', 'abcd']) transport.ask('view', view(text), hear(text));
    expect(texts(socket)).toEqual(['a']);
    socket.answer(0, 'done');
    expect(texts(socket)).toEqual(['a', 'abcd']);
    socket.answer(1, 'tokens');
    expect(heard).toEqual(['a:done', 'abcd:tokens']);
  });

  test('overtakes a request that runs long, and no longer listens to it', () => {
    const socket = opened();
    transport.ask('view', view('slow'), hear('slow'));
    vi.advanceTimersByTime(300);
    transport.ask('view', view('new'), hear('new'));
    expect(texts(socket)).toEqual(['slow', 'new']);
    socket.answer(0, 'tokens');
    socket.answer(0, 'dropped');
    socket.answer(1, 'done');
    expect(heard).toEqual(['new:done']);
  });

  test('overtakes once the one in flight has become old', () => {
    const socket = opened();
    transport.ask('view', view('slow'), hear('slow'));
    transport.ask('view', view('new'), hear('new'));
    vi.advanceTimersByTime(249);
    expect(texts(socket)).toEqual(['slow']);
    vi.advanceTimersByTime(1);
    expect(texts(socket)).toEqual(['slow', 'new']);
  });

  test('overtakes at once one about the same', () => {
    const socket = opened();
    transport.ask('view', view('a'), hear('a'), { about: 'a' });
    transport.ask('view', view('a'), hear('other'), { about: 'a' });
    expect(texts(socket)).toEqual(['a', 'a']);
    socket.answer(0, 'head');
    socket.answer(1, 'done');
    expect(heard).toEqual(['other:done']);
  });

  test('what is about the same as one that only waits does not overtake the one in flight', () => {
    const socket = opened();
    transport.ask('view', view('a'), hear('a'), { about: 'a' });
    transport.ask('view', view('ab'), hear('ab'), { about: 'ab' });
    transport.ask('view', view('ab'), hear('other'), { about: 'ab' });
    expect(texts(socket)).toEqual(['a']);
    socket.answer(0, 'done');
    expect(texts(socket)).toEqual(['a', 'ab']);
  });

  test('lets a request run twice as long for each before it that did not come to its end', () => {
    const socket = opened();
    const asked = (text: string, after: number) => {
      vi.advanceTimersByTime(after);
      transport.ask('view', view(text), hear(text), { about: text });
    };
    asked('a', 0);
    asked('b', 10);
    vi.advanceTimersByTime(240);
    expect(texts(socket)).toEqual(['a', 'b']);
    asked('c', 10);
    vi.advanceTimersByTime(489);
    expect(texts(socket)).toEqual(['a', 'b']);
    vi.advanceTimersByTime(1);
    expect(texts(socket)).toEqual(['a', 'b', 'c']);
    socket.answer(2, 'done');
    asked('d', 0);
    asked('e', 0);
    vi.advanceTimersByTime(250);
    expect(texts(socket)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  test('does not hold up another', () => {
    const socket = opened();
    transport.ask('view', view('a'), hear('view'));
    transport.ask('models', {}, hear('models'));
    expect(socket.sent.map(({ lane }) => lane)).toEqual(['view', 'models']);
  });

  test('goes on after an error', () => {
    const socket = opened();
    transport.ask('view', view('a'), hear('a'));
    transport.ask('view', view('b'), hear('b'));
    socket.answer(0, 'error');
    expect(texts(socket)).toEqual(['a', 'b']);
    expect(heard).toEqual(['a:error']);
  });

  test('never sends a frame that would close the connection', () => {
    const socket = opened();
    transport.ask('view', view('€'.repeat(LARGEST_FRAME / 3)), hear('long'));
    expect(socket.sent).toEqual([]);
    expect(heard).toEqual(['long:error']);
  });
});

describe('a lost connection', () => {
  test('returns with growing pauses, at most 5 s', () => {
    const pauses = [300, 600, 1200, 2400, 4800, 5000, 5000];
    for (const [i, pause] of pauses.entries()) {
      sockets.at(-1)!.emit('close');
      vi.advanceTimersByTime(pause - 1);
      expect(sockets).toHaveLength(i + 1);
      vi.advanceTimersByTime(1);
      expect(sockets).toHaveLength(i + 2);
    }
  });

  test('pauses anew after a welcome, not when a full server opens and closes', () => {
    opened().emit('close');
    vi.advanceTimersByTime(300);
    opened().emit('close');
    vi.advanceTimersByTime(599);
    expect(sockets).toHaveLength(2);
    vi.advanceTimersByTime(1);
    opened().emit('message', JSON.stringify({ part: 'welcome', version: '0.1.0' }));
    sockets.at(-1)!.emit('close');
    vi.advanceTimersByTime(300);
    expect(sockets).toHaveLength(4);
    expect(statuses).toEqual(['open', 'lost', 'open', 'lost', 'open', 'lost']);
  });

  test('returns at once when the page is back', () => {
    opened().emit('close');
    transport.wake();
    expect(sockets).toHaveLength(2);
    transport.wake();
    expect(sockets).toHaveLength(2);
  });

  test('asks again what was not answered, and the last view', () => {
    const first = opened();
    transport.ask('view', view('typed'), hear('view'));
    first.answer(0, 'done');
    transport.ask('sharing', { model: 'smollm2' }, hear('sharing'));
    transport.ask('models', {}, hear('models'));
    first.answer(2, 'done');
    first.emit('close');
    vi.advanceTimersByTime(300);
    const second = opened();
    expect(second.sent.map(({ lane }) => lane)).toEqual(['view', 'sharing']);
    expect(second.sent[0]!.id).toBeGreaterThan(3);
    second.answer(0, 'tokens');
    expect(heard.at(-1)).toBe('view:tokens');
  });

  test('sends what was asked meanwhile, not what it replaced', () => {
    transport.ask('view', view('before'), hear('before'));
    const first = opened();
    first.emit('close');
    transport.ask('view', view('typed while away'), hear('typed'));
    vi.advanceTimersByTime(300);
    expect(texts(opened())).toEqual(['typed while away']);
  });

  test('ignores what the old connection still says', () => {
    const first = opened();
    transport.ask('view', view('a'), hear('a'));
    first.emit('close');
    first.answer(0, 'tokens');
    expect(heard).toEqual([]);
  });

  test('stays closed once stopped', () => {
    const socket = opened();
    stop();
    socket.emit('close');
    vi.advanceTimersByTime(60_000);
    expect([socket.closed, sockets.length]).toEqual([true, 1]);
  });
});

describe('messages', () => {
  test('welcome, binary, and broken ones', () => {
    const socket = opened();
    socket.emit('message', JSON.stringify({ part: 'welcome', version: '0.1.0' }));
    const shapes: number[][] = [];
    transport.ask('view', view('a'), (_, tensors) => void shapes.push(tensors.get('q')!.shape));
    const { id, lane } = socket.sent[0]!;
    const q = { name: 'q', dtype: 'F32', shape: [1, 2], data: Float32Array.of(1, 2) };
    socket.emit('message', frame({ id, lane, part: 'head' }, [q]));
    socket.emit('message', new ArrayBuffer(3));
    socket.emit('message', '{');
    socket.emit('message', JSON.stringify({ id: null, lane: null, part: 'error', kind: 'ProtocolError', message: 'no' }));
    expect(heard).toEqual(['welcome:0.1.0']);
    expect(shapes).toEqual([[1, 2]]);
    expect(broken).toEqual([expect.stringContaining('3 bytes'), expect.stringContaining('JSON'), 'no']);
  });
});

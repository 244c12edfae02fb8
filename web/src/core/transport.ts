/**
 * The page's end of the wire. Newest wins in every lane: one request in flight, only the latest waiting; a lost
 * connection comes back by itself, and what was not answered is asked again.
 */
import { en } from '../en/core';
import type { Lane, LaneFields, Reply, Stray, Welcome } from './protocol';
import { readFrame, type Tensors } from './safetensors';

export type Status = 'connecting' | 'open' | 'lost';
export type OnReply = (reply: Reply, tensors: Tensors) => void;

/** What of a WebSocket is used here. */
export interface Socket {
  binaryType: BinaryType;
  send(data: string): void;
  close(): void;
  addEventListener(type: 'open' | 'close', listener: () => void): void;
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void;
}

export interface TransportOptions {
  url: string;
  onStatus: (status: Status) => void;
  onWelcome: (welcome: Welcome) => void;
  /** A frame that is not what docs/protocol.md says. */
  onBroken?: (error: Error) => void;
  connect?: (url: string) => Socket;
}

/** A request that runs longer than this is overtaken by a newer one at once; the server stops it between layers. */
const PATIENCE = 250;
/** However fast somebody types, after so many doublings a picture comes: within two seconds. */
const MOST_DOUBLED = 3;
const FIRST_RETRY = 300;
const LAST_RETRY = 5000;
/** The server closes the connection on a larger frame. */
export const LARGEST_FRAME = 2 ** 20;

interface Manner {
  /** Milliseconds that a newer request lets this one run. */
  patience?: number;
  /** The state it speaks of. It does not wait for an older one about the same: what that has computed is used. */
  about?: string;
}

interface Ask {
  lane: Lane;
  fields: object;
  onReply: OnReply;
  patience: number;
  about: string | undefined;
}

interface LaneState {
  /** On the wire and unanswered; it was sent at `since`. */
  flying: (Ask & { id: number; since: number }) | null;
  waiting: Ask | null;
  /** The last one sent, answered or not. */
  last: Ask | null;
  overtake: ReturnType<typeof setTimeout> | undefined;
  /** So many in a row did not come to their end: the next has twice the time for each. */
  overtaken: number;
}

export class Transport {
  #options: TransportOptions;
  #socket: Socket | null = null;
  #status: Status = 'connecting';
  #lanes = new Map<Lane, LaneState>();
  #nextId = 1;
  #retryAfter = FIRST_RETRY;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  get status(): Status {
    return this.#status;
  }

  /** Connect, and from now on again whenever the connection is lost. Returns what ends it. */
  start(): () => void {
    const page = typeof document === 'undefined' ? null : document;
    const returned = () => page?.visibilityState !== 'hidden' && this.wake();
    globalThis.addEventListener?.('online', returned);
    page?.addEventListener('visibilitychange', returned);
    this.#connect();
    return () => {
      globalThis.removeEventListener?.('online', returned);
      page?.removeEventListener('visibilitychange', returned);
      this.#stop();
    };
  }

  /** Ask anew; what this lane asked before is no longer wanted. */
  ask<L extends Lane>(lane: L, fields: LaneFields[L], onReply: OnReply, { patience = PATIENCE, about }: Manner = {}): void {
    const state = this.#lane(lane);
    state.waiting = { lane, fields, onReply, patience, about };
    this.#advance(state);
  }

  /** Do not wait for the next attempt to reconnect. */
  wake(): void {
    if (this.#retry === undefined) return;
    this.#retryAfter = FIRST_RETRY;
    this.#connect();
  }

  // ---- the connection

  #connect(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const connect = this.#options.connect ?? ((url: string): Socket => new WebSocket(url));
    const socket = connect(this.#options.url);
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('open', () => socket === this.#socket && this.#opened());
    socket.addEventListener('message', ({ data }) => socket === this.#socket && this.#receive(data));
    socket.addEventListener('close', () => socket === this.#socket && this.#lost());
    this.#socket = socket;
  }

  #opened(): void {
    this.#setStatus('open');
    for (const state of this.#lanes.values()) this.#advance(state);
  }

  #lost(): void {
    this.#socket = null;
    for (const [lane, state] of this.#lanes) {
      clearTimeout(state.overtake);
      const unanswered = state.flying ?? (lane === 'view' ? state.last : null);
      state.waiting ??= unanswered;
      state.flying = null;
    }
    this.#retry = setTimeout(() => this.#connect(), this.#retryAfter);
    this.#retryAfter = Math.min(LAST_RETRY, this.#retryAfter * 2);
    this.#setStatus('lost');
  }

  #stop(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    for (const state of this.#lanes.values()) clearTimeout(state.overtake);
    const socket = this.#socket;
    this.#socket = null;
    this.#status = 'connecting'; // who asks from now on waits: nothing is sent
    socket?.close();
  }

  #setStatus(status: Status): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#options.onStatus(status);
  }

  // ---- the lanes

  #lane(lane: Lane): LaneState {
    let state = this.#lanes.get(lane);
    if (!state) this.#lanes.set(lane, (state = { flying: null, waiting: null, last: null, overtake: undefined, overtaken: 0 }));
    return state;
  }

  /** Send what waits, unless the one in flight is young: then once it is not. */
  #advance(state: LaneState): void {
    clearTimeout(state.overtake);
    if (!state.waiting || this.#status !== 'open') return;
    const { flying, waiting } = state;
    const same = flying && waiting.about !== undefined && waiting.about === flying.about;
    const left = flying && !same ? flying.since + flying.patience * 2 ** state.overtaken - Date.now() : 0;
    if (left > 0) state.overtake = setTimeout(() => this.#advance(state), left);
    else this.#send(state, waiting);
  }

  #send(state: LaneState, ask: Ask): void {
    const id = this.#nextId++;
    const frame = JSON.stringify({ id, lane: ask.lane, ...ask.fields });
    state.waiting = null;
    if (frame.length > LARGEST_FRAME / 3 && new TextEncoder().encode(frame).length > LARGEST_FRAME) {
      const message = en.request.large(LARGEST_FRAME / 2 ** 20);
      ask.onReply({ id, lane: ask.lane, part: 'error', kind: 'LimitError', message }, new Map());
      return;
    }
    state.overtaken = state.flying && state.flying.about !== ask.about ? Math.min(state.overtaken + 1, MOST_DOUBLED) : state.overtaken;
    state.last = ask;
    state.flying = { ...ask, id, since: Date.now() };
    this.#socket!.send(frame);
  }

  #receive(data: unknown): void {
    let message: ReturnType<typeof readMessage>;
    try {
      message = readMessage(data);
    } catch (error) {
      if (!this.#options.onBroken) throw error;
      this.#options.onBroken(error as Error);
      return;
    }
    if (message.reply.part === 'welcome') this.#welcomed(message.reply);
    else this.#deliver(message.reply, message.tensors);
  }

  #welcomed(welcome: Welcome): void {
    this.#retryAfter = FIRST_RETRY; // not when it opens: a full server closes at once
    this.#options.onWelcome(welcome);
  }

  #deliver(reply: Reply, tensors: Tensors): void {
    const state = this.#lanes.get(reply.lane);
    const flying = state?.flying;
    if (!state || !flying || flying.id !== reply.id) return;
    const ended = reply.part === 'done' || reply.part === 'error' || reply.part === 'dropped';
    if (ended) [state.flying, state.overtaken] = [null, 0];
    flying.onReply(reply, tensors);
    if (ended) this.#advance(state);
  }
}

/** Whether an address is this machine's own: its server and this page share the processors. */
export function isLoopback(url: string): boolean {
  return /^(localhost|127\.[\d.]+|\[::1\])$/.test(new URL(url).hostname);
}

function readMessage(data: unknown): { reply: Reply | Welcome; tensors: Tensors } {
  const isText = typeof data === 'string';
  const message = isText ? { reply: JSON.parse(data), tensors: new Map() } : readFrame(data as ArrayBuffer);
  const reply = message.reply as Reply | Welcome | Stray;
  if (reply.part === 'error' && reply.lane === null) throw new Error(reply.message);
  return { reply: reply as Reply | Welcome, tensors: message.tensors };
}

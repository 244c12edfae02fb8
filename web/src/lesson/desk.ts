/**
 * Answers the instruments of a lesson, live or from recordings. One request is in flight at a time; a newer one of the
 * same probe takes the place of an older one, and one that the reader makes goes before those of instruments that only
 * come near. What takes seconds (ablations, sharing) has a turn of its own beside it.
 */
import type { Lane, ModelInfo, Reply, Welcome } from '../core/protocol';
import type { Tensors } from '../core/safetensors';
import { Transport, type Socket, type Status } from '../core/transport';
import { en } from '../en/course';
import { readRecording, recordingName, type Answer, type Recorded } from './recordings';
import { answersWithout, placeOf } from './switched';

export type Hear = (reply: Reply, tensors: Tensors) => void;

/** Carries a request to whoever answers it. Every answer ends with `done`, `error` or `dropped`. */
export interface Carrier {
  ask(lane: string, fields: object, hear: Hear): void;
}

interface Opening {
  hear: (info: ModelInfo) => void;
  fail: (message: string) => void;
}

interface Ticket {
  owner: object;
  lane: string;
  fields: object;
  hear: Hear;
}

const SLOW = ['ablate', 'sharing'];
const ENDS = ['done', 'error', 'dropped'];

/** A queue with one request in flight. */
class Turn {
  #waiting: Ticket[] = [];
  #flying: Ticket | null = null;
  /** Who has been answered: what such a one asks again comes from the reader's hand. */
  #answered = new WeakSet<object>();
  #carrier: Carrier;

  constructor(carrier: Carrier) {
    this.#carrier = carrier;
  }

  join(ticket: Ticket): void {
    const older = this.#waiting.findIndex(({ owner }) => owner === ticket.owner);
    if (older >= 0) this.#waiting[older] = ticket;
    // Of the same lane, the one in flight is overtaken: the transport lets a young one finish and stops an old one.
    else if (this.#flying?.owner === ticket.owner && this.#flying.lane === ticket.lane) return this.#send(ticket);
    else this.#waiting.splice(this.#placeFor(ticket), 0, ticket);
    this.#next();
  }

  leave(owner: object): void {
    this.#waiting = this.#waiting.filter((ticket) => ticket.owner !== owner);
    if (this.#flying?.owner === owner) this.#flying.hear = () => undefined;
  }

  #placeFor({ owner }: Ticket): number {
    const newcomer = this.#waiting.findIndex((waiting) => !this.#answered.has(waiting.owner));
    return newcomer >= 0 && this.#answered.has(owner) ? newcomer : this.#waiting.length;
  }

  #next(): void {
    if (this.#flying || this.#waiting.length === 0) return;
    this.#send(this.#waiting.shift()!);
  }

  #send(ticket: Ticket): void {
    this.#flying = ticket;
    this.#carrier.ask(ticket.lane, ticket.fields, (reply, tensors) => {
      if (this.#flying !== ticket) return; // overtaken, or asked again after an outage
      const ended = ENDS.includes(reply.part);
      if (ended) this.#flying = null;
      if (reply.part === 'done') this.#answered.add(ticket.owner);
      ticket.hear(reply, tensors);
      if (ended) this.#next();
    });
  }
}

export class Desk {
  /** A model answers, whatever is asked; recordings answer what was recorded. */
  readonly live: boolean;
  /** What an exported folder says of itself, where that is known. */
  readonly kept: Recorded | null;
  #quick: Turn;
  #slow: Turn;
  #models = new Map<string, { info: ModelInfo | null; waiting: Opening[] }>();
  /** A model on its way, with the bytes of its download where there is one. */
  onLoading: (loading: { name: string; done: number; total: number } | null) => void = () => undefined;

  constructor(carrier: Carrier, live = true, kept: Recorded | null = null) {
    this.live = live;
    this.kept = kept;
    this.#quick = new Turn(carrier);
    this.#slow = new Turn(carrier);
  }

  /** Ask on behalf of a probe. Answers to what it asked before on this turn are no longer heard. */
  ask(owner: object, lane: string, fields: object, hear: Hear): void {
    this.#turn(lane).join({ owner, lane, fields, hear });
  }

  /** Whether a request, with all its fields, can be answered: recordings hold so many and no more. */
  holds(lane: string, fields: object): boolean {
    if (!this.kept) return true;
    const table = placeOf(lane, fields);
    return has(this.kept, recordingName(lane, fields)) || (table !== null && has(this.kept, table.name));
  }

  /** A probe is gone. */
  leave(owner: object): void {
    for (const turn of [this.#quick, this.#slow]) turn.leave(owner);
  }

  /** A model's description, once it is open; it is opened once for all who ask. */
  open(name: string, hear: Opening['hear'], fail: Opening['fail'] = () => undefined): void {
    const known = this.#models.get(name);
    if (known?.info) return hear(known.info);
    if (known) return void known.waiting.push({ hear, fail });
    const entry = { info: null as ModelInfo | null, waiting: [{ hear, fail }] };
    this.#models.set(name, entry);
    this.#quick.join({ owner: entry, lane: 'open', fields: { model: name }, hear: (reply) => this.#opening(name, reply) });
  }

  /** A server says which model it has open already. */
  welcome({ opened }: Welcome): void {
    if (opened) this.#opened(opened.name, opened);
  }

  #turn(lane: string): Turn {
    return SLOW.includes(lane) ? this.#slow : this.#quick;
  }

  #opening(name: string, reply: Reply): void {
    if (reply.part === 'progress') this.onLoading({ name, done: reply.done, total: reply.total });
    if (reply.part === 'opened') this.#opened(name, reply.model);
    if (reply.part !== 'error') return;
    const waiting = this.#models.get(name)?.waiting ?? [];
    this.#models.delete(name);
    this.onLoading(null);
    for (const { fail } of waiting) fail(reply.message);
  }

  #opened(name: string, info: ModelInfo): void {
    const waiting = this.#models.get(name)?.waiting ?? [];
    this.#models.set(name, { info, waiting: [] });
    this.onLoading(null);
    for (const { hear } of waiting) hear(info);
  }
}

/** A desk on a server, its connection shared by all instruments. */
export function liveDesk(url: string, onStatus: (status: Status) => void, connect?: (url: string) => Socket): { desk: Desk; stop: () => void } {
  let desk: Desk | null = null;
  const transport = new Transport({ url, onStatus, onWelcome: (welcome) => desk?.welcome(welcome), ...(connect && { connect }) });
  desk = new Desk({ ask: (lane, fields, hear) => transport.ask(lane as Lane, fields as never, hear) });
  return { desk, stop: transport.start() };
}

/** A desk on recordings: what was not recorded is an error that says so. `kept` are those there are, where that is known. */
export function recordedDesk(folder: string, kept: Recorded | null = null, bring: (url: string) => Promise<ArrayBuffer | null> = fetched): Desk {
  const fail = (hear: Hear, kind: string, message: string) => hear({ id: 0, lane: 'view', part: 'error', kind, message }, new Map());
  const read = async (lane: string, fields: object): Promise<Answer[] | null> => {
    const found = placeOf(lane, fields);
    const table = found && (kept === null || has(kept, found.name)) ? found : null;
    const buffer = await bring(folder + (table ? table.name : recordingName(lane, fields)));
    if (!buffer) return null;
    const answers = readRecording(buffer);
    return table ? answersWithout(table.set, answers[0]!) : answers;
  };
  const ask = async (lane: string, fields: object, hear: Hear) => {
    const answers = await read(lane, fields).catch(() => []);
    if (answers === null) return fail(hear, 'NotRecorded', en.desk.notRecorded);
    if (!ENDS.includes(answers.at(-1)?.reply.part ?? '')) return fail(hear, 'BrokenRecording', en.desk.broken);
    for (const { reply, tensors } of answers) hear(reply, tensors);
  };
  return new Desk({ ask: (lane, fields, hear) => void ask(lane, fields, hear) }, false, kept);
}

const has = (kept: Recorded, name: string) => kept.names.has(name.replace('.bin', ''));

async function fetched(url: string): Promise<ArrayBuffer | null> {
  const response = await fetch(url);
  return response.ok ? response.arrayBuffer() : null;
}

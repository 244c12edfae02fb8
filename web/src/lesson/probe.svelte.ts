/** One question of an instrument to the model, and the answer as it stands: whole answers only, so that nothing is mixed. */
import { attendRow, headModel, type Row } from '../core/mechanism';
import type { LaneFields, ModelInfo, Reply, SharingReply } from '../core/protocol';
import type { Tensors } from '../core/safetensors';
import { begin, readHead, readPart, type OpenHead, type Picture } from '../picture';
import type { Desk } from './desk';
import type { Answer } from './recordings';

export const MODEL = 'smollm2';

/** What an instrument must say of a view; the rest has the defaults below, which are part of a recording's name. */
export type ViewFields = Pick<LaneFields['view'], 'text' | 'heads' | 'parts'> & Partial<LaneFields['view']>;
export interface Asked extends Record<string, object> {
  view: ViewFields;
  sharing: { model?: string };
  weights: { model?: string; head: string };
  symmetry: { model?: string };
}

const DEFAULTS: Record<string, object> = { view: { edits: [], query: null, key: null, at: null, tracked: [] } };

/** A request with everything in it, as it goes over the wire. */
export function complete(lane: string, fields: object): object & { model: string } {
  return { model: MODEL, ...DEFAULTS[lane], ...fields } as object & { model: string };
}

export class Probe {
  pending = $state(false);
  error: string | null = $state(null);
  info: ModelInfo | null = $state.raw(null);
  picture: Picture | null = $state.raw(null);
  /** Every head of the last view, by its name. */
  heads: ReadonlyMap<string, OpenHead> = $state.raw(new Map());
  /** Comes bit by bit where it must be measured. */
  sharing: SharingReply | null = $state.raw(null);
  /** The last whole answer of every lane asked, part by part: for what has no reader here. */
  answers: ReadonlyMap<string, readonly Answer[]> = $state.raw(new Map());
  /** The request that `picture` answers, as canonical fields. */
  answered: object | null = $state.raw(null);

  #desk: Desk;
  #asked = new Map<string, number>();

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  ask<L extends string>(lane: L, fields: L extends keyof Asked ? Asked[L] : object): void {
    const whole = complete(lane, fields);
    const turn = (this.#asked.get(lane) ?? 0) + 1;
    this.#asked.set(lane, turn);
    this.pending = true;
    this.error = null;
    const heard: Answer[] = [];
    const current = () => turn === this.#asked.get(lane);
    const opened = (info: ModelInfo) => {
      if (!current()) return;
      this.info = info;
      this.#desk.ask(this, lane, whole, (reply, tensors) => current() && this.#hear(lane, whole, heard, reply, tensors));
    };
    this.#desk.open(whole.model, opened, (message) => {
      if (current()) [this.error, this.pending] = [message, false];
    });
  }

  /** Whether there is an answer to be had: what was not recorded need not be offered. */
  holds<L extends string>(lane: L, fields: L extends keyof Asked ? Asked[L] : object): boolean {
    return this.#desk.holds(lane, complete(lane, fields));
  }

  /** No longer asking: an instrument that is taken off the page. */
  leave(): void {
    for (const [lane, turn] of this.#asked) this.#asked.set(lane, turn + 1);
    this.#desk.leave(this);
  }

  /** A head of the view for its query: scores → weights → z → write, with the edits or without. */
  row(head: string, edited = true): Row | null {
    const open = this.heads.get(head);
    if (!open || !this.info) return null;
    const model = headModel(this.info, head);
    return attendRow(edited ? open.arrays : open.before, model, edited ? (this.picture?.acting ?? []) : [], open.reply.query);
  }

  #hear(lane: string, fields: object, heard: Answer[], reply: Reply, tensors: Tensors): void {
    if (reply.part === 'dropped') return;
    if (reply.part === 'error') [this.error, this.pending] = [reply.message, false];
    else if (reply.part !== 'done') heard.push({ reply, tensors });
    if (reply.part === 'sharing') this.sharing = reply;
    if (reply.part !== 'done') return;
    this.pending = false;
    this.answers = new Map([...this.answers, [lane, heard]]);
    if (lane === 'view') this.#see(fields, heard, reply.unchanged ?? []);
  }

  #see(fields: object, heard: Answer[], unchanged: number[]): void {
    const { text, edits } = fields as { text: string; edits: object[] };
    const tokens = heard.map(({ reply }) => reply).find((reply) => reply.part === 'tokens');
    if (!tokens) return;
    const heads = new Map<string, OpenHead>();
    const picture = begin(text, tokens, edits.map((_, i) => i), null);
    for (const { reply, tensors } of heard) {
      if (reply.part === 'head') heads.set(reply.head, readHead(reply, tensors));
      else Object.assign(picture, readPart(reply, tensors, picture, ''));
    }
    const [open = null, pinned = null] = heads.values();
    this.picture = { ...picture, open, pinned, unchanged };
    [this.heads, this.answered] = [heads, fields];
  }
}

/** A probe for as long as the component stands that asks for it. */
export function useProbe(desk: () => Desk): Probe {
  const probe = new Probe(desk());
  $effect(() => () => probe.leave());
  return probe;
}

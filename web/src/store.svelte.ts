/** The state of the page: what the person chose, what the server answered, and what follows from both. */

import { follow, fromCaret, fromRange, fromToken, toWire, type Anchor, type Place } from './core/anchors';
import { editToWire, followEdit, roundShift, waits, withDrag, withTokens, type EditItem } from './core/edits';
import { attendRow, headModel, type Drag, type Row } from './core/mechanism';
import type { Edit, KnownModel, ModelInfo, Part, Reply, ReplyOf, TokenRef, Tracked } from './core/protocol';
import { floats, type Tensors } from './core/safetensors';
import { Transport, type Socket, type Status } from './core/transport';
import { withoutFirst } from './core/view';
import { en } from './en';
import { EXAMPLES, type Example } from './examples';
import { History } from './history.svelte';
import { begin, readFound, readHead, readLooks, type OpenHead, type Picture } from './picture';

const PARTS: Part[] = ['head', 'raw', 'found', 'heads', 'overview', 'prediction', 'words'];
/** These are asked for once the others have come: they cost the most and change the picture the least. */
const LATER: Part[] = ['words', 'overview'];
const STALE_AFTER = 200;
/** Parts that come within this time after the open head are shown at once: every change of the page costs a layout. */
const TOGETHER = 100;
/** While a hand drags, the server is asked at most this often, in milliseconds: the frames need the processors too. */
const BETWEEN = 100;

/** What a link, an export and `copy as Python` hold. */
export interface Chosen {
  model: string;
  text: string;
  special: boolean;
  head: string;
  pinned: string | null;
  query: Place | null;
  key: Place | null;
  edits: EditItem[];
  tracked: Tracked[];
  atEnd: boolean;
}

/** A drag as the page computes it, and the edit it becomes when let go. */
export type LiveDrag = Drag & { edit: Edit<number> };

/** What an answer of the lane `view` is about. */
interface Request {
  serial: number;
  /** All that its tokens depend on. */
  about: string;
  text: string;
  sent: number[];
  keys: Map<Part, string>;
  parts: Part[];
  /** So many heads' arrays are still to come. */
  heads: number;
}

export class Lab {
  readonly say = en;
  readonly history = new History();

  // ---- what the person chose
  model = $state('smollm2');
  text = $state('');
  special = $state(true);
  head = $state('13.8');
  /** A second head, side by side. */
  pinned: string | null = $state(null);
  /** The token that looks; null (or lost): the one typed last. */
  query: Place | null = $state.raw(null);
  /** The key of interest; null: the one the query looks at most. */
  key: Place | null = $state.raw(null);
  edits: EditItem[] = $state.raw([]);
  tracked: Tracked[] = $state.raw([]);
  /** Predict after the end of the text instead of after the query. */
  atEnd = $state(false);

  // ---- how it is shown
  unrotated = $state(false);
  byPair = $state(false);
  hideFirst = $state(false);
  principal = $state(false);
  colour: 'weights' | 'pair' | 'effect' | 'ablation' = $state('weights');
  openChip: number | null = $state(null);
  helpOpen = $state(false);
  hint = $state(0);
  said = $state('');

  // ---- what the server answered
  status: Status = $state('connecting');
  info: ModelInfo | null = $state.raw(null);
  models: KnownModel[] = $state.raw([]);
  /** The model on its way, with the bytes of its download where there is one. */
  loading: { name: string; done: number; total: number } | null = $state.raw(null);
  shown: Picture | null = $state.raw(null);
  error: string | null = $state(null);
  stale = $state(false);
  effect: { direct: Float32Array; weight: Float32Array } | null = $state.raw(null);
  ablated: Map<string, { effect: number; p: number }> = $state.raw(new Map());
  ablationsLeft: number | null = $state(null);
  curve: ReplyOf<'curve'> | null = $state.raw(null);
  sharing: ReplyOf<'sharing'> | null = $state.raw(null);
  sharingError: string | null = $state(null);
  trackError: string | null = $state(null);

  /** A drag in progress, or let go and not yet answered: the page adds it to the arrays it has. */
  drag: LiveDrag | null = $state.raw(null);
  dragging = $state(false);

  // ---- what follows: the equations, in order
  open: OpenHead | null = $derived(this.shown?.open ?? null);
  acting: Edit<number>[] = $derived(this.shown?.acting ?? []);
  edited = $derived(this.acting.length > 0 || this.drag !== null);
  /** The query's position in the picture. */
  queryAt: number | null = $derived(this.open?.reply.query ?? this.shown?.tokens.query ?? null);
  /** The open head for the query: scores → weights → z → write, with edits and drag. */
  row: Row | null = $derived(this.rowOf(this.open, true));
  rowBefore: Row | null = $derived(this.edited ? this.rowOf(this.open, false) : this.row);
  /** The weights as drawn: the row's, or without the first token's where it is hidden. */
  viewWeights: Float64Array | null = $derived(this.#view(this.row));
  viewBefore: Float64Array | null = $derived(this.#view(this.rowBefore));
  /** The key of interest: the chosen one, else the one the query looks at most. */
  keyAt: number | null = $derived(this.shown?.tokens.key ?? this.#strongest());

  #transport: Transport | null = null;
  #have = new Map<Part, string>();
  /** A picture that is being put together, with the parts that have come for it. */
  #next: Picture | null = null;
  #arrived = new Map<Part, string>();
  #awaitsHead = false;
  #begunFor = '';
  #showTimer: ReturnType<typeof setTimeout> | undefined;
  #caret: number | null = null;
  #nextEdit = 1;
  /** The request whose answer takes the place of a drag that was let go. */
  #dragEndsWith: number | 'next' | null = null;
  #asked = 0;
  #lastAsked = -Infinity;
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  #ablatedFor = '';
  #staleTimer: ReturnType<typeof setTimeout> | undefined;

  /** Connect to a server and open the model there. Returns what ends it. */
  start(url: string, connect?: (url: string) => Socket): () => void {
    this.#transport = new Transport({
      url,
      ...(connect && { connect }),
      onStatus: (status) => (this.status = status),
      onWelcome: ({ models, opened }) => {
        this.models = models;
        if (opened?.name === this.model) this.#opened(opened);
        else this.openModel(this.model);
      },
    });
    if (this.text === '') this.useExample(EXAMPLES[0]!);
    return this.#transport.start();
  }

  // ---- what a person can do

  /**
   * The text has changed under their hands, the caret at this place: what was chosen follows its characters. A query
   * or key that is gone comes back by undo; writing the same again is writing, and the last token is what looks.
   */
  type(text: string, caret: number, undone = false): void {
    const before = this.text;
    if (text === before) return;
    const go = (place: Place | null) =>
      place === null || typeof place === 'number' || (place.lost && !undone) ? place : follow(place, before, text, caret);
    this.query = go(this.query);
    this.key = go(this.key);
    this.edits = this.edits.map((item) => followEdit(item, before, text, caret));
    this.text = text;
    this.#caret = caret;
    this.#letGo();
  }

  look(from: number | null): void {
    this.query = from === null ? null : this.place(from);
    this.#letGo();
  }

  lookAt(key: number | null): void {
    this.key = key === null ? null : this.place(key);
  }

  openHead(head: string): void {
    this.head = head;
    this.#letGo();
  }

  useExample(example: Example): void {
    this.edits = [];
    this.history.clear();
    this.text = example.text;
    this.head = example.head;
    this.pinned = null;
    this.query = wordAnchor(example.text, ...example.query);
    this.key = wordAnchor(example.text, ...example.key);
    this.tracked = example.tracked;
    this.atEnd = false;
    this.#caret = null;
    this.#letGo();
  }

  openModel(name: string): void {
    this.loading = { name, done: 0, total: 0 };
    this.error = null;
    this.#transport?.ask('open', { model: name }, (reply) => {
      if (reply.part === 'progress') this.loading = { name, done: reply.done, total: reply.total };
      if (reply.part === 'opened') this.#opened(reply.model);
      if (reply.part === 'error') [this.loading, this.error] = [null, reply.message];
    });
  }

  /** Do not wait for the next attempt to reconnect. */
  wake(): void {
    this.#transport?.wake();
  }

  // ---- edits

  addEdit(edit: Edit<number>): void {
    this.addEdits([edit]);
  }

  /** Several edits as one step. Their tokens are named by position and follow their characters from now on. */
  addEdits(edits: Edit<number>[]): void {
    this.history.push(this.edits);
    const items = edits.map((edit) => ({ id: this.#nextEdit++, edit: withTokens(edit, (at) => this.place(at, true)), on: true }));
    this.edits = [...this.edits, ...items];
  }

  /** Replace all edits, as one step; `join` makes steps in a row one. */
  setEdits(edits: EditItem[], join?: unknown): void {
    this.history.push(this.edits, join);
    this.edits = edits;
    this.#letGo();
  }

  changeEdit(id: number, change: Partial<EditItem>, join?: unknown): void {
    this.setEdits(this.edits.map((item) => (item.id === id ? { ...item, ...change } : item)), join);
  }

  removeEdits(ids: number[]): void {
    this.setEdits(this.edits.filter((item) => !ids.includes(item.id)));
  }

  newId(): number {
    return this.#nextEdit++;
  }

  undo(): void {
    this.edits = this.history.undo(this.edits);
    this.#letGo();
  }

  redo(): void {
    this.edits = this.history.redo(this.edits);
    this.#letGo();
  }

  /** Follow the pointer: the page computes this head itself, the prediction follows from the server. */
  dragTo(drag: LiveDrag): void {
    this.dragging = true;
    this.drag = drag;
    this.#dragEndsWith = null;
  }

  /** Let go: the drag becomes an edit, and stays on the picture until the server has answered for it. */
  drop(): void {
    if (this.drag && this.dragging) {
      const edit = withTokens(this.drag.edit, (at) => this.place(at, true));
      const rounded = 'shift' in edit ? { ...edit, shift: roundShift(edit.shift) } : edit;
      this.history.push(this.edits);
      this.edits = withDrag(this.edits, { id: this.#nextEdit++, edit: rounded, on: true }, this.shown?.ranges ?? []);
      this.#dragEndsWith = 'next';
    }
    this.dragging = false;
  }

  cancelDrag(): void {
    this.#letGo();
  }

  track(answer: Tracked): void {
    const others = this.tracked.filter((other) => other !== answer);
    this.tracked = others.length < this.tracked.length ? others : [...others.slice(-1), answer];
  }

  /** Track the first of these spellings that is one token of this model. If none is, the picture stays as it is. */
  trackWord([word, ...others]: string[]): void {
    this.trackError = null;
    if (word === undefined) return;
    this.#transport?.ask('effect', { ...this.#state(), at: this.#atRef(), tracked: [word] }, (reply) => {
      if (reply.part === 'effect') this.track(word);
      if (reply.part !== 'error') return;
      if (others.length > 0) this.trackWord(others);
      else this.trackError = reply.message;
    });
  }

  /** Say something in passing, on the page and to a screen reader. */
  tell(message: string): void {
    this.said = message;
    setTimeout(() => this.said === message && (this.said = ''), 4000);
  }

  // ---- tokens

  /** How a token of the picture is named from now on: by its characters, or by position where it has none. */
  place(token: number, strict = false): Place {
    const { shown } = this;
    const range = shown?.ranges[token];
    if (!shown || !range || range.start === range.end) return token;
    // The text may be ahead of the picture that was pointed at.
    return follow(fromToken(shown.text, token, shown.ranges, strict), shown.text, this.text, this.#caret ?? undefined);
  }

  token(at: number | null | undefined): string {
    return this.shown?.tokens.tokens[at ?? -1] ?? '';
  }

  chosen(): Chosen {
    const { model, text, special, head, pinned, query, key, edits, tracked, atEnd } = this;
    return { model, text, special, head, pinned, query, key, edits, tracked, atEnd };
  }

  /** Take over a state from a link. */
  choose(chosen: Chosen): void {
    Object.assign(this, chosen);
    this.#nextEdit = Math.max(0, ...chosen.edits.map((item) => item.id)) + 1;
    this.history.clear();
    this.#letGo();
    if (this.info && this.info.name !== chosen.model) this.openModel(chosen.model);
  }

  // ---- asking

  /** Ask the server for what of the picture no longer holds. Runs again when anything it reads changes. */
  ask(): void {
    const { info } = this;
    if (!info || info.name !== this.model || !this.#transport || this.#mustWait()) return;
    const live = this.edits.filter((item) => item.on && !waits(item));
    const state = this.#state(live);
    if (this.dragging && this.drag) state.edits.push(this.drag.edit);
    const heads = [this.head, ...(this.pinned && this.pinned !== this.head ? [this.pinned] : [])];
    const query = this.#queryRef();
    const key = this.key === null ? null : toWire(this.key, this.text);
    const at = this.atEnd ? null : query;
    const base = JSON.stringify(state);
    const uses: Partial<Record<Part, unknown[]>> = {
      head: [heads, query],
      raw: [this.head],
      found: [this.head, query],
      heads: [query, key],
      overview: [],
      prediction: [at, this.tracked],
      words: [this.head, query, key],
    };
    const keys = new Map(PARTS.map((part) => [part, base + JSON.stringify(uses[part])]));
    const missing = PARTS.filter((part) => this.#wants(part, info) && this.#have.get(part) !== keys.get(part));
    const urgent = missing.filter((part) => !LATER.includes(part));
    const parts = urgent.length > 0 ? urgent : missing;
    if (parts.length === 0) return;
    // Until they come, what was shown of them does not count: an earlier answer may still slip in between.
    for (const part of parts) [this.#have, this.#arrived].forEach((known) => known.delete(part));
    const [text, sent] = [this.text, live.map((item) => item.id)];
    clearTimeout(this.#staleTimer);
    if (urgent.length > 0) this.#staleTimer = setTimeout(() => (this.stale = true), STALE_AFTER);
    const fields = { ...state, heads, query, key, at, tracked: this.tracked, parts };
    const about = JSON.stringify([base, query, key, at, sent]);
    const request: Request = { serial: ++this.#asked, about, text, sent, keys, parts, heads: heads.length };
    if (this.#dragEndsWith === 'next') this.#dragEndsWith = request.serial;
    this.#transport.ask('view', fields, (reply, tensors) => this.#receive(reply, tensors, request));
  }

  #mustWait(): boolean {
    const left = this.dragging && this.drag ? this.#lastAsked + BETWEEN - performance.now() : 0;
    clearTimeout(this.#askTimer);
    if (left > 0) this.#askTimer = setTimeout(() => this.ask(), left);
    else this.#lastAsked = performance.now();
    return left > 0;
  }

  /** Every head's direct contribution to the tracked answers. */
  askEffect(): void {
    if (!this.tracked.length) return;
    this.#transport?.ask('effect', { ...this.#state(), at: this.#atRef(), tracked: this.tracked }, (reply, tensors) => {
      if (reply.part === 'effect') this.effect = { direct: floats(tensors, 'direct'), weight: floats(tensors, 'weight') };
    });
  }

  /** Ablate every head in turn; results stream in. */
  askAblations(): void {
    if (!this.tracked.length) return;
    this.ablated = new Map();
    this.#ablatedFor = this.#aboutAnswers();
    this.#transport?.ask('ablate', { ...this.#state(), at: this.#atRef(), tracked: this.tracked }, (reply) => {
      if (reply.part !== 'ablate') return;
      this.ablated = new Map([...this.ablated, ...reply.effects.map(({ head, effect, p }) => [head, { effect, p }] as const)]);
      this.ablationsLeft = reply.left;
    });
  }

  /** The first tracked answer's probability now and without this head, where that was measured in this very state. */
  withoutHead(head: string): { text: string; now: number; p: number } | null {
    const measured = this.ablated.get(head);
    const answer = this.shown?.prediction?.tracked[0];
    if (!measured || !answer || this.#ablatedFor !== this.#aboutAnswers()) return null;
    return { text: answer.text, now: answer.after.p, p: measured.p };
  }

  /** The tracked answers with one edit at every strength. */
  askCurve(id: number): void {
    const live = this.edits.filter((item) => (item.on || item.id === id) && !waits(item));
    const edit = live.findIndex((item) => item.id === id);
    if (edit < 0 || !this.tracked.length) return;
    this.#transport?.ask('curve', { ...this.#state(live), edit, at: this.#atRef(), tracked: this.tracked }, (reply) => {
      if (reply.part === 'curve') this.curve = reply;
    });
  }

  /** What sharing K/V heads costs, layer by layer. */
  askSharing(): void {
    this.#transport?.ask('sharing', { model: this.model }, (reply) => {
      if (reply.part === 'sharing') this.sharing = reply;
      if (reply.part === 'error') this.sharingError = reply.message;
    });
  }

  // ---- within

  rowOf(head: OpenHead | null, edited: boolean): Row | null {
    if (!head || !this.info) return null;
    const [layer, index] = head.reply.head.split('.').map(Number) as [number, number];
    const model = headModel(this.info, layer, index);
    if (!edited) return attendRow(head.before, model, [], head.reply.query);
    const own = head.reply.head === this.open?.reply.head;
    return attendRow(head.arrays, model, this.acting, head.reply.query, (own && this.drag) || {});
  }

  #state(live = this.edits.filter((item) => item.on && !waits(item))) {
    const edits: Edit<TokenRef>[] = live.map((item) => editToWire(item, this.text));
    return { model: this.model, text: this.text, special: this.special, edits };
  }

  #queryRef(): TokenRef | null {
    if (this.query !== null && (typeof this.query === 'number' || !this.query.lost)) return toWire(this.query, this.text);
    if (!this.#caret) return null;
    return toWire(fromCaret(this.text, this.#caret), this.text);
  }

  #aboutAnswers(): string {
    return JSON.stringify([this.#state(), this.#atRef(), this.tracked]);
  }

  #atRef(): TokenRef | null {
    return this.atEnd ? null : this.#queryRef();
  }

  #wants(part: Part, info: ModelInfo): boolean {
    if (part === 'prediction') return info.has_output;
    if (this.dragging) return false;
    if (part === 'words') return info.has_output;
    if (part === 'overview') return this.colour === 'weights';
    return part !== 'raw' || this.unrotated;
  }

  #receive(reply: Reply, tensors: Tensors, request: Request): void {
    const { serial, keys } = request;
    if (reply.part === 'error') [this.error, this.stale] = [reply.message, false];
    if (reply.part === 'done') return this.#finished(reply.unchanged ?? [], request);
    if (reply.part === 'tokens') this.#begin(reply, request);
    const picture = this.#next ?? this.shown;
    const change = picture && this.#read(reply, tensors, picture);
    if (!change) return;
    this.#next = { ...picture, ...change };
    const part = reply.part as Part;
    if (part !== 'head' || --request.heads === 0) this.#arrived.set(part, keys.get(part)!);
    if (change.open) {
      this.#awaitsHead = false;
      this.#show();
      if (typeof this.#dragEndsWith === 'number' && serial >= this.#dragEndsWith) this.#letGo();
    } else if (!this.#awaitsHead) this.#showTimer ??= setTimeout(() => this.#show(), TOGETHER);
  }

  /** What a part of an answer changes of a picture. */
  #read(reply: Reply, tensors: Tensors, picture: Picture): Partial<Picture> | null {
    if (reply.part === 'head') return { [reply.head === this.head ? 'open' : 'pinned']: readHead(reply, tensors) };
    if (reply.part === 'raw') return { raw: { q: floats(tensors, 'q_raw'), k: floats(tensors, 'k_raw') } };
    if (reply.part === 'found') return { found: readFound(picture.tokens.query ?? 0, tensors) };
    if (reply.part === 'heads') return { looks: readLooks(tensors) };
    if (reply.part === 'prediction') return { prediction: reply };
    if (reply.part === 'words') return { words: reply };
    if (reply.part !== 'overview') return null;
    return { overview: { stamps: tensors.get('stamps')!.data as Uint8Array, rows: reply.rows, columns: reply.columns } };
  }

  /** New tokens wait for the open head's arrays, so that no panel mixes two texts. */
  #begin(tokens: ReplyOf<'tokens'>, { about, text, sent, parts }: Request): void {
    this.error = null;
    this.#show();
    if (about === this.#begunFor) return;
    const picture = begin(text, tokens, sent, this.shown);
    if (this.dragging) {
      if (this.shown) this.shown = { ...this.shown, tokens: { ...this.shown.tokens, at: tokens.at } };
      return;
    }
    this.#next = picture;
    this.#begunFor = about;
    this.#arrived.clear();
    if (tokens.tokens.length === 0) this.#next = { ...picture, open: null, pinned: null, found: null, looks: null, overview: null, prediction: null, words: null };
    this.#awaitsHead = tokens.tokens.length > 0 && parts.includes('head');
    this.#show();
  }

  /** Show what has come, unless it is of a text whose open head has not. */
  #show(): void {
    clearTimeout(this.#showTimer);
    this.#showTimer = undefined;
    if (!this.#next || this.#awaitsHead) return;
    [this.shown, this.#next] = [this.#next, null];
    for (const [part, key] of this.#arrived) this.#have.set(part, key);
    this.#arrived.clear();
  }

  #finished(unchanged: number[], { parts, keys }: Request): void {
    this.#awaitsHead = false;
    this.#show();
    // What did not come is not to be had: of an empty text there is nothing.
    for (const part of parts) if (!this.#have.has(part)) this.#have.set(part, keys.get(part)!);
    clearTimeout(this.#staleTimer);
    this.stale = false;
    if (this.shown && unchanged.length + this.shown.unchanged.length) this.shown = { ...this.shown, unchanged };
    this.ask();
  }

  #opened(info: ModelInfo): void {
    if (info.name !== this.info?.name) {
      this.#have.clear();
      this.#arrived.clear();
      [this.#next, this.#awaitsHead, this.#begunFor] = [null, false, ''];
      [this.shown, this.effect, this.curve, this.sharing, this.sharingError] = [null, null, null, null, null];
      [this.ablated, this.ablationsLeft] = [new Map(), null];
    }
    this.loading = null;
    this.model = info.name;
    this.info = info;
    const [layer, head] = this.head.split('.').map(Number) as [number, number];
    if (layer >= info.n_layer || head >= info.n_head) this.head = '0.0';
  }

  #letGo(): void {
    this.drag = null;
    this.dragging = false;
    this.#dragEndsWith = null;
  }

  #view(row: Row | null): Float64Array | null {
    return row && this.hideFirst ? withoutFirst(row.weights) : (row?.weights ?? null);
  }

  #strongest(): number | null {
    if (!this.row) return null;
    const weights = this.row.weights;
    let best: number | null = null;
    for (let j = 0; j < weights.length; j++) if (weights[j]! > 0 && (best === null || weights[j]! > weights[best]!)) best = j;
    return best;
  }
}

/** The n-th occurrence of a word in a text (from 0), as an anchor. */
function wordAnchor(text: string, word: string, n: number): Anchor | null {
  let at = text.indexOf(word);
  for (let i = 0; i < n && at >= 0; i++) at = text.indexOf(word, at + 1);
  return at < 0 ? null : fromRange(text, at, at + word.length);
}

export const lab = new Lab();

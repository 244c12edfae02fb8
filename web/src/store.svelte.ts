/** The state of the page: what the person chose, what the server answered, and what follows from both. */

import type { AtlasRow } from './atlas/data';
import { Asking } from './asking';
import { follow, fromCaret, fromRange, fromToken, toWire, type Anchor, type Place } from './core/anchors';
import { editToWire, followEdit, roundShift, waits, withDrag, withTokens, type EditItem } from './core/edits';
import { attendRow, headModel, type Drag, type Row } from './core/mechanism';
import type { Ablated, Edit, KnownModel, ModelInfo, Part, ReplyOf, Special, TokenRef, TokensReply, Tracked } from './core/protocol';
import type { Socket, Status } from './core/transport';
import { withoutFirst } from './core/view';
import { en } from './en/playground';
import { EXAMPLES, type Example } from './examples';
import { History } from './history.svelte';
import type { Chosen } from './core/share';
import type { OpenHead, Picture } from './picture';

/** A drag as the page computes it, and the edit it becomes when let go. */
export type LiveDrag = Drag & { edit: Edit<number> };

/** Of every head: what its write adds to the followed answers, and how much of the query's weight lands on one other token. */
interface Effects {
  direct: Float32Array;
  weight: Float32Array;
}

export class Lab {
  readonly say = en;
  readonly history = new History();
  readonly server = new Asking(this);

  // ---- what the person chose
  model = $state('smollm2');
  text = $state('');
  special: Special = $state(true);
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
  colour: 'weights' | 'pair' | 'effect' | 'ablation' | 'atlas' = $state('weights');
  openChip: number | null = $state(null);
  /** Which panel stands open over the tray. */
  tray: 'add' | 'cache' | null = $state(null);
  helpOpen = $state(false);
  hint = $state(0);
  said = $state('');

  // ---- what the server answered
  status: Status = $state('connecting');
  /** Of the program that answers. */
  version = $state('');
  info: ModelInfo | null = $state.raw(null);
  /** What is known of the open model's heads, and where that is shown. */
  atlas: { row: AtlasRow; address: string } | null = $state.raw(null);
  models: KnownModel[] = $state.raw([]);
  /** The model on its way, with the bytes of its download where there is one. */
  loading: { name: string; done: number; total: number } | null = $state.raw(null);
  shown: Picture | null = $state.raw(null);
  error: string | null = $state(null);
  /** Why the model that was asked for last is not open. */
  refused: string | null = $state(null);
  /** The picture is late: all of it is the one before, or all but the open head. */
  stale: 'all' | 'rest' | null = $state(null);
  effect: (Effects & { before: Effects | null }) | null = $state.raw(null);
  ablated: ReadonlyMap<string, Ablated> = $state.raw(new Map());
  /** Without the edits; empty where there are none. */
  ablatedBefore: ReadonlyMap<string, Ablated> = $state.raw(new Map());
  ablationsLeft: number | null = $state(null);
  /** How probable the first tracked answer is without a head: of one head and state. */
  without: { about: string; p: number } | null = $state.raw(null);
  curve: ReplyOf<'curve'> | null = $state.raw(null);
  whyParts: { about: string; reply: ReplyOf<'why'> | null; error: string | null } | null = $state.raw(null);
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

  #caret: number | null = null;
  #nextEdit = 1;
  /** A link has brought a state, perhaps with an empty text. */
  #chosen = false;

  // ---- what a person can do

  /** Connect to a server; a page that came with no state of its own shows the first example. Returns what ends it. */
  start(url: string, connect?: (url: string) => Socket): () => void {
    if (this.text === '' && !this.#chosen) this.useExample(EXAMPLES[0]!);
    return this.server.start(url, connect);
  }

  /** What the server has. The first time, a page that came with no state of its own takes the model it was started with. */
  meet(models: KnownModel[]): void {
    if (this.models.length === 0 && !this.#chosen) this.model = models[0]?.name ?? this.model;
    this.models = models;
  }

  /**
   * The text has changed under their hands, the caret at this place: what was chosen follows its characters. A query
   * or key that is gone comes back by undo; writing the same again is writing, and the last token is what looks.
   */
  type(text: string, caret: number, undone = false): void {
    const before = this.text;
    if (text === before) return;
    this.trackError = null;
    const go = (place: Place | null) =>
      place === null || typeof place === 'number' || (place.lost && !undone) ? place : follow(place, before, text, caret);
    this.query = go(this.query);
    this.key = go(this.key);
    this.edits = this.edits.map((item) => followEdit(item, before, text, caret));
    this.text = text;
    this.#caret = caret;
    this.cancelDrag();
  }

  look(from: number | null): void {
    this.query = from === null ? null : this.place(from);
    this.cancelDrag();
  }

  lookAt(key: number | null): void {
    this.key = key === null ? null : this.place(key);
  }

  openHead(head: string): void {
    this.head = head;
    this.cancelDrag();
  }

  useExample(example: Example): void {
    this.trackError = null;
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
    this.cancelDrag();
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
    this.cancelDrag();
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
    this.cancelDrag();
  }

  redo(): void {
    this.edits = this.history.redo(this.edits);
    this.cancelDrag();
  }

  /** Follow the pointer: the page computes this head itself, the prediction follows from the server. */
  dragTo(drag: LiveDrag): void {
    this.dragging = true;
    this.drag = drag;
    this.server.forgetDrag();
  }

  /** Let go: the drag becomes an edit, and stays on the picture until the server has answered for it. */
  drop(): void {
    if (this.drag && this.dragging) {
      const edit = withTokens(this.drag.edit, (at) => this.place(at, true));
      const rounded = 'shift' in edit ? { ...edit, shift: roundShift(edit.shift) } : edit;
      this.history.push(this.edits);
      this.edits = withDrag(this.edits, { id: this.#nextEdit++, edit: rounded, on: true }, this.shown?.ranges ?? []);
      this.server.endDrag();
    }
    this.dragging = false;
  }

  track(answer: Tracked): void {
    const others = this.tracked.filter((other) => other !== answer);
    this.tracked = others.length < this.tracked.length ? others : [...others.slice(-1), answer];
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

  /** How a token prints: one of the picture, or of what a part of it still speaks of. */
  token(at: number | null | undefined, part?: Part): string {
    return this.tokensOf(part)?.tokens[at ?? -1] ?? '';
  }

  /** What a part speaks of: the picture's tokens, or those before while it is on its way. */
  tokensOf(part?: Part): TokensReply | undefined {
    return (part && this.shown?.of[part]) ?? this.shown?.tokens;
  }

  /** Is a part of the picture late, and still the one before? */
  late(part: Part): boolean {
    return this.stale === 'all' || (this.stale === 'rest' && this.tokensOf(part) !== this.shown?.tokens);
  }

  chosen(): Chosen {
    const { model, text, special, head, pinned, query, key, edits, tracked, atEnd } = this;
    return { model, text, special, head, pinned, query, key, edits, tracked, atEnd };
  }

  /** Take over a state from a link. */
  choose(chosen: Chosen): void {
    Object.assign(this, chosen);
    this.#chosen = true;
    this.#nextEdit = Math.max(0, ...chosen.edits.map((item) => item.id)) + 1;
    this.history.clear();
    this.cancelDrag();
    if (this.info && this.info.name !== chosen.model) this.server.openModel(chosen.model);
  }

  /** The first tracked answer's probability now and without this head, where that was measured in this very state. */
  withoutHead(head: string): { text: string; now: number; p: number } | null {
    const answer = this.shown?.prediction?.tracked[0];
    const asked = this.without?.about === this.aboutWithout(head) ? this.without.p : undefined;
    const measured = this.ablated.get(head)?.p; // read first: that the ablations are of this state is no state itself
    const p = this.server.ablatedFor === this.aboutAnswers() ? (measured ?? asked) : asked;
    return answer && p !== undefined ? { text: answer.text, now: answer.after.p, p } : null;
  }

  // ---- what follows from it

  rowOf(head: OpenHead | null, edited: boolean): Row | null {
    if (!head || !this.info) return null;
    const model = headModel(this.info, head.reply.head);
    if (!edited) return attendRow(head.before, model, [], head.reply.query);
    const own = head.reply.head === this.open?.reply.head;
    return attendRow(head.arrays, model, this.acting, head.reply.query, (own && this.drag) || {});
  }

  state(live = this.edits.filter((item) => item.on && !waits(item))) {
    const edits: Edit<TokenRef>[] = live.map((item) => editToWire(item, this.text));
    return { model: this.model, text: this.text, special: this.special, edits };
  }

  queryRef(): TokenRef | null {
    if (this.query !== null && (typeof this.query === 'number' || !this.query.lost)) return toWire(this.query, this.text);
    if (!this.#caret) return null;
    return toWire(fromCaret(this.text, this.#caret), this.text);
  }

  aboutAnswers(): string {
    return JSON.stringify([this.state(), this.atRef(), this.tracked]);
  }

  aboutWithout(head: string): string {
    return head + this.aboutAnswers();
  }

  atRef(): TokenRef | null {
    return this.atEnd ? null : this.queryRef();
  }

  /** The drag is over, and nothing becomes of it. */
  cancelDrag(): void {
    this.drag = null;
    this.dragging = false;
    this.server.forgetDrag();
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

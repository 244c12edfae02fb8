/** What the page asks the server, and how the answers become one picture. It writes what has come into the store. */

import type { Atlas } from './atlas/data';
import { layerAndHead } from './core/address';
import { toWire } from './core/anchors';
import { waits } from './core/edits';
import type { Ablated, ModelInfo, Part, Reply, ReplyOf } from './core/protocol';
import { floats, type Tensors } from './core/safetensors';
import { isLoopback, Transport, type Socket } from './core/transport';
import { begin, readPart, withTokens, type Picture } from './picture';
import type { Lab } from './store.svelte';

const PARTS: Part[] = ['head', 'raw', 'found', 'heads', 'overview', 'prediction', 'words'];
/** These are asked for once the others have come: they cost the most and change the picture the least. */
const LATER: Part[] = ['words', 'overview'];
const STALE_AFTER = 200;
/** Parts that come within this time after the open head are shown at once: every change of the page costs a layout. */
const TOGETHER = 100;
/** Once nothing has changed for so long, one more pass tells what the answer would be without the open head. */
const AT_REST = 1000;
/** While a hand drags, the server is asked at most this often, in milliseconds: the frames need the processors too. */
const BETWEEN = 100;

/** What an answer of the lane `view` is about. */
interface Request {
  serial: number;
  /** All that its tokens depend on. */
  about: string;
  text: string;
  sent: number[];
  keys: Map<Part, string>;
  parts: Part[];
  /** Those and the ones that are asked for after them. */
  missing: Part[];
  /** So many heads' arrays are still to come. */
  heads: number;
  /** When something else was asked for. */
  superseded: number | null;
}

const withMore = (known: ReadonlyMap<string, Ablated>, more: Ablated[] = []) =>
  more.length > 0 ? new Map([...known, ...more.map((row) => [row.head, row] as const)]) : known;

export class Asking {
  #lab: Lab;
  #transport: Transport | null = null;
  #sharesProcessors = false;
  #have = new Map<Part, string>();
  /** A picture that is being put together, with the parts that have come for it. */
  #next: Picture | null = null;
  #arrived = new Map<Part, string>();
  #awaitsHead = false;
  #begunFor = '';
  #showTimer: ReturnType<typeof setTimeout> | undefined;
  /** The request whose answer takes the place of a drag that was let go. */
  #dragEndsWith: number | 'next' | null = null;
  #asked = 0;
  #newest: Request | null = null;
  #restTimer: ReturnType<typeof setTimeout> | undefined;
  #lastAsked = -Infinity;
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  /** The state that the ablations were measured in. */
  ablatedFor = '';
  #staleTimer: ReturnType<typeof setTimeout> | undefined;
  /** The request on its way has brought the open head's arrays, or asked for none. */
  #headCame = false;
  /** The head and state that were last asked for their answer without the head. */
  #withoutFor = '';

  /** Everything on the page is the answer to the state it is in. */
  settled = false;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  /** Connect to a server and open the model there. Returns what ends it. */
  start(url: string, connect?: (url: string) => Socket): () => void {
    this.#sharesProcessors = isLoopback(url);
    this.#transport = new Transport({
      url,
      ...(connect && { connect }),
      onStatus: (status) => (this.#lab.status = status),
      onWelcome: ({ version, models, opened }) => {
        this.#lab.version = version;
        this.#lab.meet(models);
        if (opened?.name === this.#lab.model) this.#opened(opened);
        else this.openModel(this.#lab.model);
      },
    });
    return this.#transport.start();
  }

  openModel(name: string): void {
    this.#lab.loading = { name, done: 0, total: 0 };
    this.#lab.error = this.#lab.refused = null;
    this.#transport?.ask('open', { model: name }, (reply) => {
      if (reply.part === 'progress') this.#lab.loading = { name, done: reply.done, total: reply.total };
      if (reply.part === 'opened') this.#opened(reply.model);
      if (reply.part === 'error') this.#notOpened(reply.message);
    });
  }

  /** What was open stays; where nothing was, the model that the server was started with is opened. */
  #notOpened(message: string): void {
    const { info, models, model } = this.#lab;
    this.#lab.loading = null;
    this.#lab.model = info?.name ?? models[0]?.name ?? model;
    if (!info && this.#lab.model !== model) this.openModel(this.#lab.model);
    this.#lab.refused = message;
  }

  /** Do not wait for the next attempt to reconnect. */
  wake(): void {
    this.#transport?.wake();
  }

  /** Ask the server for what of the picture no longer holds. Runs again when anything it reads changes. */
  ask(): void {
    const { info } = this.#lab;
    this.settled = false;
    clearTimeout(this.#restTimer);
    if (!info || info.name !== this.#lab.model || !this.#transport || this.#mustWait()) return;
    const live = this.#lab.edits.filter((item) => item.on && !waits(item));
    const state = this.#lab.state(live);
    if (this.#lab.dragging && this.#lab.drag) state.edits.push(this.#lab.drag.edit);
    const heads = [this.#lab.head, ...(this.#lab.pinned && this.#lab.pinned !== this.#lab.head ? [this.#lab.pinned] : [])];
    const query = this.#lab.queryRef();
    const key = this.#lab.key === null ? null : toWire(this.#lab.key, this.#lab.text);
    const at = this.#lab.atEnd ? null : query;
    const base = JSON.stringify(state);
    const uses: Partial<Record<Part, unknown[]>> = {
      head: [heads, query],
      raw: [this.#lab.head],
      found: [this.#lab.head, query],
      heads: [query, key],
      overview: [],
      prediction: [at, this.#lab.tracked],
      words: [this.#lab.head, query, key],
    };
    const keys = new Map(PARTS.map((part) => [part, base + JSON.stringify(uses[part])]));
    const missing = PARTS.filter((part) => this.#wants(part, info) && this.#have.get(part) !== keys.get(part));
    const urgent = missing.filter((part) => !LATER.includes(part));
    const parts = urgent.length > 0 ? urgent : missing;
    this.settled = parts.length === 0;
    if (this.settled) {
      this.#restTimer = setTimeout(() => this.#askWithout(), AT_REST);
      return;
    }
    // Until they come, what was shown of them does not count: an earlier answer may still slip in between.
    for (const part of parts) [this.#have, this.#arrived].forEach((known) => known.delete(part));
    const [text, sent] = [this.#lab.text, live.map((item) => item.id)];
    this.#headCame = !parts.includes('head');
    const fields = { ...state, heads, query, key, at, tracked: this.#lab.tracked, parts, busy: this.#busy(parts) };
    const about = JSON.stringify([base, query, key, at, sent]);
    const request: Request = { serial: ++this.#asked, about, text, sent, keys, parts, missing, heads: heads.length, superseded: null };
    if (urgent.length > 0) this.#supersede(request);
    if (this.#dragEndsWith === 'next') this.#dragEndsWith = request.serial;
    const receive = (reply: Reply, tensors: Tensors) => this.#receive(reply, tensors, request);
    this.#transport.ask('view', fields, receive, { about: base, ...(urgent.length === 0 && { patience: 0 }) });
  }

  /** What the server should know of this page, if both are on one machine. */
  #busy(parts: Part[]): 'drawing' | 'dragging' | null {
    if (!this.#sharesProcessors) return null;
    return this.#lab.dragging ? 'dragging' : parts.includes('head') ? 'drawing' : null;
  }

  #mustWait(): boolean {
    const left = this.#lab.dragging && this.#lab.drag ? this.#lastAsked + BETWEEN - performance.now() : 0;
    clearTimeout(this.#askTimer);
    if (left > 0) this.#askTimer = setTimeout(() => this.ask(), left);
    else this.#lastAsked = performance.now();
    return left > 0;
  }

  /** Every head's direct contribution to the tracked answers. */
  askEffect(): void {
    if (!this.#lab.tracked.length) return;
    this.#transport?.ask('effect', { ...this.#lab.state(), at: this.#lab.atRef(), tracked: this.#lab.tracked }, (reply, tensors) => {
      if (reply.part !== 'effect') return;
      const pair = (end: string) => ({ direct: floats(tensors, `direct${end}`), weight: floats(tensors, `weight${end}`) });
      this.#lab.effect = { ...pair(''), before: tensors.has('direct_before') ? pair('_before') : null };
    });
  }

  /** Ablate every head in turn; results stream in. */
  askAblations(): void {
    const about = this.#lab.aboutAnswers();
    if (!this.#lab.tracked.length || about === this.ablatedFor) return;
    this.#lab.ablated = this.#lab.ablatedBefore = new Map();
    this.ablatedFor = about;
    this.#transport?.ask('ablate', { ...this.#lab.state(), at: this.#lab.atRef(), tracked: this.#lab.tracked }, (reply) => {
      if (reply.part !== 'ablate') return;
      this.#lab.ablated = withMore(this.#lab.ablated, reply.effects);
      this.#lab.ablatedBefore = withMore(this.#lab.ablatedBefore, reply.before);
      this.#lab.ablationsLeft = reply.left;
    });
  }

  /** What the sentence under the text says of the open head: without it, how probable is the first tracked answer? */
  #askWithout(): void {
    const { info, head, tracked, edited } = this.#lab;
    const about = this.#lab.aboutWithout(head);
    if (!info?.has_output || tracked.length === 0 || edited || this.#lab.withoutHead(head) || this.#withoutFor === about) return;
    this.#withoutFor = about;
    this.#transport?.ask('without', { ...this.#lab.state(), head, at: this.#lab.atRef(), tracked }, (reply) => {
      if (reply.part === 'without') this.#lab.without = { about, p: reply.p };
    });
  }

  /** The tracked answers with some of the edits, as one, at every strength. */
  askCurve(ids: number[]): void {
    const live = this.#lab.edits.filter((item) => (item.on || ids.includes(item.id)) && !waits(item));
    const places = live.flatMap((item, place) => (ids.includes(item.id) ? [place] : []));
    if (places.length === 0 || !this.#lab.tracked.length) return;
    this.#transport?.ask('curve', { ...this.#lab.state(live), places, at: this.#lab.atRef(), tracked: this.#lab.tracked }, (reply) => {
      if (reply.part === 'curve') this.#lab.curve = reply;
    });
  }

  /** What wrote the score of the query with a key at a head; `about` says of which state that is. */
  askWhy(about: string, head: string): void {
    const { open, keyAt } = this.#lab;
    if (!open || keyAt === null || this.#lab.whyParts?.about === about) return;
    this.#lab.whyParts = { about, reply: null, error: null };
    this.#transport?.ask('why', { ...this.#lab.state(), head, query: open.reply.query, key: keyAt }, (reply) => {
      if (reply.part === 'why') this.#lab.whyParts = { about, reply, error: null };
      if (reply.part === 'error') this.#lab.whyParts = { about, reply: null, error: reply.message };
    });
  }

  /** An atlas whole; or why not. */
  askAtlas(id: string, hear: (atlas: Atlas | null, error: string) => void): void {
    this.#transport?.ask('atlas', { atlas: id }, (reply) => {
      if (reply.part === 'atlas') hear(reply.summary, '');
      if (reply.part === 'error') hear(null, reply.message);
    });
  }

  /** What sharing K/V heads costs, layer by layer. */
  askSharing(): void {
    this.#transport?.ask('sharing', { model: this.#lab.model }, (reply) => {
      if (reply.part === 'sharing') this.#lab.sharing = reply;
      if (reply.part === 'error') this.#lab.sharingError = reply.message;
    });
  }

  /** Track the first of these spellings that is one token of this model. If none is, the picture stays as it is. */
  trackWord([word, ...others]: string[]): void {
    this.#lab.trackError = null;
    if (word === undefined) return;
    this.#transport?.ask('effect', { ...this.#lab.state(), at: this.#lab.atRef(), tracked: [word] }, (reply) => {
      if (reply.part === 'effect') this.#lab.track(word);
      if (reply.part !== 'error') return;
      if (others.length > 0) this.trackWord(others);
      else this.#lab.trackError = reply.message;
    });
  }

  /** A drag begins, or ends without an edit. */
  forgetDrag(): void {
    this.#dragEndsWith = null;
  }

  /** The next answer takes the place of the drag. */
  endDrag(): void {
    this.#dragEndsWith = 'next';
  }

  // ---- within

  #wants(part: Part, info: ModelInfo): boolean {
    if (part === 'prediction') return info.has_output;
    if (this.#lab.dragging) return false;
    if (part === 'words') return info.has_output;
    if (part === 'overview') return this.#lab.colour === 'weights';
    return part !== 'raw' || this.#lab.unrotated;
  }

  #receive(reply: Reply, tensors: Tensors, request: Request): void {
    const { serial, keys } = request;
    if (reply.part === 'error') {
      this.#lab.error = reply.message;
      this.#notLate();
    }
    if (reply.part === 'done') return this.#finished(reply.unchanged ?? [], request);
    if (reply.part === 'tokens') this.#begin(reply, request);
    const picture = this.#next ?? this.#lab.shown;
    const change = picture && readPart(reply, tensors, picture, this.#lab.head);
    if (!change) return;
    const part = reply.part as Part;
    this.#next = { ...picture, ...change, of: { ...picture.of, [part]: picture.tokens } };
    const headsCame = part === 'head' && --request.heads === 0;
    if (part !== 'head' || headsCame) this.#arrived.set(part, keys.get(part)!);
    if (headsCame) {
      this.#awaitsHead = false;
      this.#inTime(request);
      this.#show();
      if (typeof this.#dragEndsWith === 'number' && serial >= this.#dragEndsWith) this.#lab.cancelDrag();
    } else if (!this.#awaitsHead) this.#showTimer ??= setTimeout(() => this.#show(), TOGETHER);
  }

  /** What is on the page is late from now on, however often more is asked until an answer comes. */
  #supersede(request: Request): void {
    if (this.#newest) this.#newest.superseded ??= performance.now();
    this.#newest = request;
    if (this.#staleTimer === undefined) this.#lateFrom(performance.now());
  }

  /** The heads have come: only the rest may be late now, or all since something else was asked for. */
  #inTime({ superseded }: Request): void {
    this.#headCame = superseded === null;
    if (this.#lab.stale && this.#headCame) this.#lab.stale = 'rest';
    this.#lateFrom(superseded ?? performance.now());
  }

  #lateFrom(moment: number): void {
    clearTimeout(this.#staleTimer);
    this.#staleTimer = setTimeout(() => {
      this.#staleTimer = undefined;
      this.#lab.stale = this.#headCame ? 'rest' : 'all';
    }, moment + STALE_AFTER - performance.now());
  }

  #notLate(): void {
    clearTimeout(this.#staleTimer);
    this.#staleTimer = undefined;
    this.#lab.stale = null;
  }

  /** New tokens wait for the arrays of the heads on screen, so that no panel mixes two texts. */
  #begin(tokens: ReplyOf<'tokens'>, { about, text, sent, parts, missing }: Request): void {
    this.#lab.error = null;
    this.#show();
    if (about === this.#begunFor) return;
    const picture = begin(text, tokens, sent, this.#lab.shown, missing);
    if (this.#lab.dragging) {
      if (this.#lab.shown) this.#lab.shown = withTokens(this.#lab.shown, { ...this.#lab.shown.tokens, at: tokens.at });
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
    [this.#lab.shown, this.#next] = [this.#next, null];
    for (const [part, key] of this.#arrived) this.#have.set(part, key);
    this.#arrived.clear();
  }

  #finished(unchanged: number[], { parts, keys }: Request): void {
    this.#awaitsHead = false;
    this.#show();
    // What did not come is not to be had: of an empty text there is nothing.
    for (const part of parts) if (!this.#have.has(part)) this.#have.set(part, keys.get(part)!);
    this.#notLate();
    if (this.#lab.shown && unchanged.length + this.#lab.shown.unchanged.length) this.#lab.shown = { ...this.#lab.shown, unchanged };
    this.ask();
  }

  #opened(info: ModelInfo): void {
    if (info.name !== this.#lab.info?.name) {
      this.#have.clear();
      this.#arrived.clear();
      [this.#next, this.#awaitsHead, this.#begunFor] = [null, false, ''];
      [this.#lab.shown, this.#lab.effect, this.#lab.curve, this.#lab.sharing, this.#lab.sharingError] = [null, null, null, null, null];
      [this.#lab.ablated, this.#lab.ablatedBefore, this.#lab.ablationsLeft, this.ablatedFor] = [new Map(), new Map(), null, ''];
    }
    if (this.#lab.special === 'start' && info.start === null) this.#lab.special = true;
    this.#lab.loading = null;
    this.#lab.model = info.name;
    this.#lab.info = info;
    const [layer, head] = layerAndHead(this.#lab.head);
    if (layer < info.n_layer && head < info.n_head) return;
    this.#lab.tell(this.#lab.say.heads.none(this.#lab.head, info.name));
    this.#lab.head = '0.0';
  }
}

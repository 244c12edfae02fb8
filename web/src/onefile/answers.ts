/**
 * Answers the page of a saved file as the server answered, from what the file holds. Edits of the open head it computes
 * itself, exactly; what needs the model it refuses by name, and the prediction it gives as it was saved.
 */
import { fromWire, locate, rangesFromWire, type Range } from '../core/anchors';
import { kvAddress } from '../core/address';
import { withTokens } from '../core/edits';
import { attendRow, editPair, headModel, type Acting, type HeadArrays } from '../core/mechanism';
import type { Edit, TokenRef, TokensReply, Welcome } from '../core/protocol';
import { beyond, replay, type Beyond } from '../core/replay';
import { writeSafetensors, type Tensors } from '../core/safetensors';
import type { Socket } from '../core/transport';
import { headTensors, tensor, type Opened, type ViewFields } from './kept';

type Request = ViewFields & { id: number; lane: string };
type Listener = (event: { data: unknown }) => void;

/** The state that edits make of the head. */
interface Made {
  arrays: HeadArrays;
  edits: TokensReply['edits'];
  refused: TokensReply['refused'];
  /** The residual is the one that was saved. */
  residual: boolean;
}

export class Answers implements Socket {
  binaryType: BinaryType = 'arraybuffer';
  #opened: Opened;
  #ranges: Range[];
  /** The edits in force when the file was saved. */
  #base: Edit[];
  #say: Record<Beyond, string>;
  #listeners: Record<string, Listener[]> = {};

  constructor(opened: Opened, base: Edit[], say: Record<Beyond, string>) {
    this.#opened = opened;
    this.#base = base;
    this.#say = say;
    this.#ranges = rangesFromWire(opened.kept.tokens.offsets, opened.kept.state.text);
    queueMicrotask(() => {
      const { version, info } = opened.kept;
      const welcome: Welcome = { part: 'welcome', protocol: 1, version, models: [], opened: info };
      this.#emit('open');
      this.#emit('message', JSON.stringify(welcome));
    });
  }

  addEventListener(type: string, listener: Listener): void {
    (this.#listeners[type] ??= []).push(listener);
  }

  /** Answers come later, as from a server: who asks has not finished asking. */
  send(data: string): void {
    queueMicrotask(() => {
      for (const frame of this.#answer(JSON.parse(data) as Request)) this.#emit('message', frame);
    });
  }

  close(): void {
    this.#listeners = {};
  }

  #emit(type: string, data?: unknown): void {
    for (const listener of this.#listeners[type] ?? []) listener({ data });
  }

  #answer(request: Request): (string | ArrayBuffer)[] {
    const { id, lane, parts } = request;
    const frame = (reply: object) => JSON.stringify({ ...reply, id, lane });
    if (lane !== 'view') return [frame({ part: 'error', kind: 'NoModel', message: this.#say.below })];
    const { kept } = this.#opened;
    const made = this.#make(request.edits);
    const query = this.#token(request.query) ?? kept.head.query;
    const tokens = { ...kept.tokens, query, key: this.#token(request.key), edits: made.edits, refused: made.refused };
    const frames: (string | ArrayBuffer)[] = [frame(tokens)];
    const arrays = (reply: object, tensors: Tensors) => frames.push(writeSafetensors({ reply: frame(reply) }, tensors));
    const acting = made.edits.filter((edit) => edit !== null);
    if (parts.includes('head')) {
      const residual = made.residual && query === kept.head.query ? kept.head.residual : null;
      const edited = acting.length > 0;
      arrays({ ...kept.head, query, residual, edited }, headTensors(made.arrays, this.#opened.open.before, kept.info));
    }
    if (parts.includes('raw')) arrays({ part: 'raw', head: kept.head.head }, this.#raw());
    if (parts.includes('found')) arrays({ part: 'found', head: kept.head.head, query }, this.#found(made.arrays, acting, query));
    if (parts.includes('prediction') && kept.prediction) frames.push(frame(kept.prediction));
    if (parts.includes('words') && kept.words) frames.push(frame(kept.words));
    return [...frames, frame({ part: 'done', ms: 0 })];
  }

  // ---- the edits

  /**
   * As it was saved, the arrays are the model's own. Where all that is asked acts in this head alone, it starts from the
   * unedited arrays; otherwise from the saved ones, if what was in force when they were saved still is.
   */
  #make(edits: Edit[]): Made {
    const { kept, open } = this.#opened;
    const [asked, base] = [edits, this.#base].map((list) => list.map((edit) => JSON.stringify(edit))) as [string[], string[]];
    const goesOn = base.every((edit, i) => edit === asked[i]);
    if (goesOn && asked.length === base.length) {
      return { arrays: open.arrays, edits: kept.tokens.edits, refused: kept.tokens.refused, residual: true };
    }
    const baseIsOwn = kept.tokens.edits.every((edit) => edit === null || this.#beyond(edit) === null);
    const from = goesOn && !baseIsOwn ? base.length : 0;
    const placed = edits.slice(from).map((edit) => this.#placed(edit));
    const reasons = placed.map((edit) => edit && (this.#beyond(edit) ?? (from > 0 && this.#wouldAimAgain(edit) ? 'below' : null)));
    const own = placed.map((edit, i) => (reasons[i] ? null : edit));
    const start = from > 0 ? open.arrays : open.before;
    const refused = reasons.flatMap((reason, i) => (reason ? [{ edit: from + i, message: this.#say[reason] }] : []));
    return {
      arrays: replay(start, own.filter((edit) => edit !== null), kept.head.head, kept.info),
      edits: [...kept.tokens.edits.slice(0, from), ...own],
      refused: [...kept.tokens.refused.filter(({ edit }) => edit < from), ...refused],
      residual: from > 0 || baseIsOwn,
    };
  }

  #beyond(edit: Acting): Beyond | null {
    const { kept, open } = this.#opened;
    return beyond(edit, kept.head.head, kept.info, open.arrays.meanZ !== null);
  }

  /** The model aims after keys have moved; saved arrays are aimed already. */
  #wouldAimAgain(edit: Acting): boolean {
    const { tokens, head, info } = this.#opened.kept;
    const moves = edit.kind === 'shift-key' && edit.kv_head === kvAddress(head.head, info);
    return moves && tokens.edits.some((saved) => saved?.kind === 'aim-query' && saved.head === head.head);
  }

  #placed(edit: Edit): Acting | null {
    let lost = false;
    const placed = withTokens(edit, (token) => {
      const at = this.#token(token);
      lost ||= at === null;
      return at ?? -1;
    });
    return lost ? null : placed;
  }

  #token(ref: TokenRef | null): number | null {
    return ref === null ? null : locate(fromWire(ref, this.#opened.kept.state.text), this.#ranges);
  }

  // ---- what follows from the arrays

  /** q and k before their rotation, of the unedited head. */
  #raw(): Tensors {
    const { kept, open } = this.#opened;
    const [q, k] = editPair(open.before.q, open.before.k, kept.info.d_head, { kind: 'stop-rotation', where: 'all', strength: 1 }, kept.info.rotation);
    return new Map([['q_raw', tensor(Float32Array.from(q))], ['k_raw', tensor(Float32Array.from(k))]]);
  }

  /** How every query sees this token as a key. */
  #found(arrays: HeadArrays, edits: readonly Acting[], token: number): Tensors {
    const { kept, open } = this.#opened;
    const model = headModel(kept.info, kept.head.head);
    const rows = (of: HeadArrays, acting: readonly Acting[]) => kept.tokens.tokens.map((_, query) => attendRow(of, model, acting, query));
    const now = rows(arrays, edits);
    const column = (name: 'scores' | 'weights', of = now) => tensor(Float32Array.from(of, (row) => row[name][token]!));
    const found: Tensors = new Map([['scores', column('scores')], ['weights', column('weights')]]);
    if (edits.length > 0) found.set('weights_before', column('weights', rows(open.before, [])));
    return found;
  }
}

/** A hand in the match plane, of pointer or keyboard: it moves the query, or one key, from a place to another. */
import { aim, AimError } from '../core/aim';
import { kvAddress } from '../core/address';
import { locate } from '../core/anchors';
import { headModel, visibleKeys } from '../core/mechanism';
import { shiftFor, type Plane, type Point } from '../core/planes';
import { lab, type LiveDrag } from '../store.svelte';

/** The query, or a key by its position. */
export type Target = 'query' | number;

export class Grip {
  target: Target | null = $state(null);
  #plane: Plane | null = null;
  #from: Point = [0, 0];
  #to: Point = [0, 0];

  /** Nothing moves until `moveTo`. False while the last drag still waits for its answer. */
  take(target: Target, plane: Plane, from: Point): boolean {
    if (lab.drag || plane.axes.length === 0) return false;
    this.target = target;
    this.#plane = plane;
    this.#from = this.#to = from;
    return true;
  }

  moveTo(to: Point): void {
    if (this.target === null) return;
    this.#to = to;
    lab.dragTo(this.#drag(this.target));
  }

  moveBy(x: number, y: number): void {
    this.moveTo([this.#to[0] + x, this.#to[1] + y]);
  }

  release(): void {
    if (this.target !== null) lab.drop();
    this.target = null;
  }

  cancel(): void {
    if (this.target !== null) lab.cancelDrag();
    this.target = null;
  }

  #drag(target: Target): LiveDrag {
    const { head, query } = lab.open!.reply;
    const kv_head = kvAddress(head, lab.info!);
    const moved = shiftFor(this.#plane!, this.#from, this.#to);
    const shift = Array.from(moved);
    if (target === 'query') return { q: moved, edit: { kind: 'shift-query', head, query, shift, strength: 1 } };
    return { key: { index: target, shift: moved }, edit: { kind: 'shift-key', kv_head, token: target, shift, strength: 1 } };
  }
}

const MARGIN = 3;

/** Turn the query by as little as possible until this key wins; an aim of the same query gets a new target. */
export function aimAt(key: number): void {
  const { open, info, shown } = lab;
  if (!open || !info || !shown || lab.drag) return;
  const { head, query } = open.reply;
  const earlier = lab.edits.find(({ edit, on }) => {
    return on && edit.kind === 'aim-query' && edit.head === head && locate(edit.query, shown.ranges) === query;
  });
  if (earlier) return lab.changeEdit(earlier.id, { edit: { ...earlier.edit, key: lab.place(key, true) } as typeof earlier.edit });
  if (info.score_extras) return lab.tell(lab.say.planes.noAim(info.score_extras));
  const model = headModel(info, head);
  const d = info.d_head;
  const span = visibleKeys(query, open.arrays.k.length / d, model);
  try {
    const q = aim(open.arrays.q.subarray(query * d, (query + 1) * d), open.arrays.k, span, key, model.scale, MARGIN);
    if (q.every((x) => x === 0)) return lab.tell(lab.say.planes.alreadyWins(lab.token(key), MARGIN));
    lab.dragTo({ q, edit: { kind: 'aim-query', head, query, key, margin: MARGIN, strength: 1 } });
    lab.drop();
  } catch (error) {
    if (!(error instanceof AimError)) throw error;
    lab.tell(error.message);
  }
}

/** What the match plane shows, step by step: plane, places, who can win where, and how it fits the picture. */
import { untrack } from 'svelte';
import { label } from '../core/format';
import { addScaled, norm } from '../core/linalg';
import { biasesOf, fitFrame, interestOf, slopeOf, type Frame } from '../core/matchview';
import { headModel, reaches, visibleKeys, type Floats, type Row } from '../core/mechanism';
import { place, principalPlane, queryPlane, queryPoint, type Plane, type Point } from '../core/planes';
import { canWin, winningRegions } from '../core/regions';
import { strongest } from '../core/view';
import type { Dot } from '../draw/plane';
import type { OpenHead } from '../picture';
import { lab } from '../store.svelte';

export interface Given {
  head: OpenHead;
  row: Row;
  before: Row;
}

const LABELLED = 7;
const SAME = 1e-9;
/** A difference of scores that is worth a word. */
const SEEN = 0.02;

export class MatchView {
  width = $state(0);
  height = $state(0);
  /** The key under the pointer. */
  hovered: number | null = $state(null);
  #given: () => Given;
  #lastPlane: Plane | undefined;
  #lastAbout = '';
  #lastFrame: Frame | undefined;

  constructor(given: () => Given) {
    this.#given = given;
  }

  #head = $derived.by(() => this.#given().head);
  #row = $derived.by(() => this.#given().row);
  #before = $derived.by(() => this.#given().before);
  #model = $derived.by(() => {
    return headModel(lab.info!, this.#head.reply.head);
  });
  /** Still the same array while only the query moves. */
  #keys = $derived(this.#row.k);
  #keysBefore = $derived(this.#before.k);

  span = $derived(visibleKeys(this.#head.reply.query, this.#before.scores.length, this.#model));
  interest = $derived(interestOf(lab.shown!.tokens.key, this.#before.weights, this.span.first, this.span.last));
  /** What the signs of a plane hold for: a head, and the word of the key of interest. */
  #about = $derived(`${this.#head.reply.head} ${lab.principal || lab.token(this.interest)}`);
  plane: Plane = $derived(this.#planeOf(this.#before.q, this.#keysBefore));
  points = $derived(this.#placed(this.#keys));
  pointsBefore = $derived(this.#placed(this.#keysBefore));
  query: Point = $derived(queryPoint(this.plane, this.#row.q));
  queryBefore: Point = $derived(queryPoint(this.plane, this.#before.q));
  slope = $derived(slopeOf(this.#model, lab.acting));
  scores = $derived(this.#row.scores.subarray(this.span.first, this.span.last));
  weights = $derived(this.#row.weights.subarray(this.span.first, this.span.last));
  winner = $derived(this.span.first + (strongest(this.weights, 1)[0] ?? 0));
  /** Who wins where. A dragged query changes none of it, so nothing is computed again while one moves. */
  ground = $derived.by(() => {
    const { points, slope, frame } = this;
    void lab.acting;
    const biases = untrack(() => biasesOf(this.scores, points, this.query, slope));
    const side = Math.max(frame.width, frame.height) / frame.perQuery;
    const able = canWin(points, biases, slope);
    const left = biases.map((bias, j) => (able[j] ? bias : -Infinity));
    return { able, regions: winningRegions(points, left, slope, side) };
  });
  /** Why scores part in ways that the plane does not show, so that right is not always higher: null where they do not. */
  apart: 'model' | 'edit' | null = $derived.by(() => {
    if (lab.principal) return null;
    if (lab.info!.score_extras !== '') return 'model';
    const seen = biasesOf(this.scores, this.points, this.query, this.slope).filter(Number.isFinite);
    return Math.max(...seen) - Math.min(...seen) > SEEN ? 'edit' : null;
  });
  frame: Frame = $derived.by(() => {
    const { width, height } = this;
    const frozen = lab.drag !== null && this.#lastFrame?.width === width && this.#lastFrame.height === height;
    if (!frozen) {
      const all = Float64Array.of(...this.points, ...this.pointsBefore);
      this.#lastFrame = fitFrame(all, [this.query, this.queryBefore], width, height);
    }
    return this.#lastFrame!;
  });
  /** By how much of its length the query was moved. */
  turned = $derived.by(() => {
    const { arrays, before, reply } = this.#head;
    const d = lab.info!.d_head;
    const at = reply.query * d;
    const was = before.q.subarray(at, at + d);
    const shift = addScaled(Float64Array.from(arrays.q.subarray(at, at + d)), Float64Array.from(was), -1);
    if (lab.drag?.q) addScaled(shift, Float64Array.from(lab.drag.q), 1);
    return norm(shift) / norm(was);
  });
  /** A drag is a shift before the rotation is taken back: it would not follow the hand. */
  stopped = $derived(lab.acting.some((edit) => edit.kind === 'stop-rotation' && reaches(edit, this.#model.layer, this.#model.head)));

  dots: Dot[] = $derived.by(() => {
    const named = new Set(strongest(this.weights, LABELLED));
    return Array.from(this.weights, (weight, j) => {
      const key = this.span.first + j;
      const shown = key === this.hovered || lab.drag?.key?.index === key;
      const must = shown || key === this.interest || key === this.winner;
      const name = must || named.has(j) ? label(lab.token(key)) : '';
      return {
        at: this.pointOf(key),
        radius: radiusOf(weight, this.weights.length),
        hollow: !this.ground.able[j],
        label: shown ? `${name} ${(lab.viewWeights?.[key] ?? weight).toFixed(3)}` : name,
        ring: key === this.interest,
        must,
        rank: named.has(j) ? weight : 0,
      };
    });
  });
  ghosts = $derived.by(() => {
    const was = this.#before.weights.subarray(this.span.first, this.span.last);
    return Array.from(was, (weight, j) => ({ at: pointAt(this.pointsBefore, j), radius: radiusOf(weight, was.length), j })).filter(
      ({ at, radius, j }) => apart(at, pointAt(this.points, j)) || Math.abs(radius - radiusOf(this.weights[j]!, was.length)) > 1,
    );
  });
  moved = $derived(apart(this.query, this.queryBefore));

  pointOf(key: number): Point {
    return pointAt(this.points, key - this.span.first);
  }

  #placed(keys: Floats): Float64Array {
    const d = this.plane.mean.length;
    return place(this.plane, keys.subarray(this.span.first * d, this.span.last * d));
  }

  /** A plane with the signs of the last one, so that a keystroke does not turn it over. */
  #planeOf(q: Floats, keys: Floats): Plane {
    const last = this.#about === this.#lastAbout ? this.#lastPlane : undefined;
    this.#lastAbout = this.#about;
    this.#lastPlane = lab.principal ? principalPlane(q, keys, this.span, last) : queryPlane(q, keys, this.span, this.interest, last);
    return this.#lastPlane;
  }
}

const CROWD = 96;

/** Of a dot among `count`, in pixels: its area beyond the least grows with the weight. */
export function radiusOf(weight: number, count: number): number {
  return (count > CROWD ? 1.6 : 3.2) + 7.5 * Math.sqrt(weight);
}

export function pointAt(points: Float64Array, j: number): Point {
  return [points[2 * j]!, points[2 * j + 1]!];
}

function apart([ax, ay]: Point, [bx, by]: Point): boolean {
  return Math.hypot(ax - bx, ay - by) > SAME;
}

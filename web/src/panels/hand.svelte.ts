/** A hand on the match plane: what pointer and keys mean there. A click chooses a key, a second one aims at it. */
import { fromScreen, nearest, toScreen } from '../core/matchview';
import type { Point } from '../core/planes';
import { lab } from '../store.svelte';
import { aimAt, Grip, type Target } from './grip.svelte';
import type { MatchView } from './match.svelte';

/** How far from its middle a pointer takes something, in pixels. */
const REACH = { mouse: 11, touch: 22, query: 20 };
const [STEP, LONG_STEP] = [4, 20];
/** A pointer that moved less has only clicked. */
const STILL = 3;
const AGAIN_MS = 400;
/** Arrow keys in a row are one drag. */
const IDLE_MS = 350;
const ARROWS: Record<string, Point> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export function isKey(target: Target): target is number {
  return target !== 'query';
}

export class Hand {
  readonly grip = new Grip();
  #view: MatchView;
  /** A pointer that is down: on what, where, and how far from the middle of it. */
  #press: { target: Target; at: Point; off: Point; moved: boolean } | null = null;
  #clicked: { key: number; time: number } | null = null;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(view: MatchView) {
    this.#view = view;
  }

  screenOf(target: Target): Point {
    return toScreen(this.#view.frame, this.#per(target), this.#pointOf(target));
  }

  /** `handle` is what the pointer went down on, if it was one; a bare picture leaves a finger to scroll the page. */
  down(event: PointerEvent, handle?: Target): void {
    const at = placeOf(event);
    const touch = event.pointerType === 'touch';
    const target = this.#targetAt(at, touch) ?? handle;
    if (touch) this.#view.hovered = target !== undefined && isKey(target) ? target : null;
    if (target === undefined || event.button !== 0) return;
    const [x, y] = this.screenOf(target);
    this.#press = { target, at, off: [x - at[0], y - at[1]], moved: false };
    if (!touch || handle !== undefined) (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
  }

  move(event: PointerEvent): void {
    const at = placeOf(event);
    const press = this.#press;
    if (!press) {
      const target = this.#targetAt(at, false);
      this.#view.hovered = target !== undefined && isKey(target) ? target : null;
      return;
    }
    if (!(event.currentTarget as HTMLElement).hasPointerCapture(event.pointerId)) return;
    if (!press.moved && Math.hypot(at[0] - press.at[0], at[1] - press.at[1]) < STILL) return;
    if (!press.moved && !this.#take(press.target)) return;
    press.moved = true;
    const { frame, plane } = this.#view;
    this.grip.moveTo(fromScreen(frame, this.#per(press.target), plane, [at[0] + press.off[0], at[1] + press.off[1]]));
  }

  up(): void {
    if (this.#press?.moved) this.grip.release();
    else if (this.#press && isKey(this.#press.target)) this.#click(this.#press.target);
    this.#press = null;
  }

  stop(): void {
    this.grip.cancel();
    this.#press = null;
  }

  keyDown(event: KeyboardEvent, target: Target): void {
    const arrow = ARROWS[event.key];
    if (arrow) this.#nudge(target, arrow, event.shiftKey ? LONG_STEP : STEP);
    else if (event.key === 'Enter' && this.grip.target !== null) this.grip.release();
    else if (isKey(target) && event.key.toLowerCase() === 'a' && !event.ctrlKey && !event.metaKey) aimAt(target);
    else if (isKey(target) && event.key === 'PageUp') this.#choose(target - 1);
    else if (isKey(target) && event.key === 'PageDown') this.#choose(target + 1);
    else return;
    event.preventDefault();
  }

  keyUp(event: KeyboardEvent): void {
    if (!ARROWS[event.key] || this.grip.target === null) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.grip.release(), IDLE_MS);
  }

  #take(target: Target): boolean {
    return !this.#view.stopped && this.grip.take(target, this.#view.plane, this.#pointOf(target));
  }

  #nudge(target: Target, [x, y]: Point, step: number): void {
    clearTimeout(this.#idle);
    if (this.grip.target === null && !this.#take(target)) return;
    const by = step / this.#per(target);
    this.grip.moveBy(x * by, this.#view.plane.axes.length > 1 ? y * by : 0);
  }

  #click(key: number): void {
    const now = performance.now();
    const again = this.#clicked !== null && now - this.#clicked.time < AGAIN_MS;
    // The first click has turned the plane to its key, so the second may lie on another dot: it means the same one.
    if (again) aimAt(this.#clicked!.key);
    else lab.lookAt(key);
    this.#clicked = again ? null : { key, time: now };
  }

  #choose(key: number): void {
    const { first, last } = this.#view.span;
    if (key >= first && key < last) lab.lookAt(key);
  }

  #targetAt(at: Point, touch: boolean): Target | undefined {
    const [x, y] = this.screenOf('query');
    if (Math.hypot(x - at[0], y - at[1]) <= REACH.query) return 'query';
    const key = nearest(this.#view.frame, this.#view.points, at, touch ? REACH.touch : REACH.mouse);
    return key < 0 ? undefined : this.#view.span.first + key;
  }

  #per(target: Target): number {
    return isKey(target) ? this.#view.frame.perKey : this.#view.frame.perQuery;
  }

  #pointOf(target: Target): Point {
    return isKey(target) ? this.#view.pointOf(target) : this.#view.query;
  }
}

/** In pixels of the picture: canvases and handles are its children. */
function placeOf(event: PointerEvent): Point {
  const { left, top } = (event.currentTarget as HTMLElement).parentElement!.getBoundingClientRect();
  return [event.clientX - left, event.clientY - top];
}

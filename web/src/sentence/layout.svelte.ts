/** Where the tokens stand on screen, and which one is under a point. */
import type { Piece } from '../core/spans';

/** Within the editor, in CSS pixels. */
export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Where a line of text ends. */
export function endOf({ boxes }: Layout): number {
  return Math.max(0, ...(boxes ?? []).map((box) => box?.right ?? 0));
}

export class Layout {
  editor: HTMLElement | undefined = $state();
  /** One for each piece of the text. */
  spans: (HTMLElement | undefined)[] = [];
  /** Of tokens without characters, by token. */
  chips: (HTMLElement | undefined)[] = [];
  pieces: Piece[] = $state.raw([]);
  /** By token; null where the text takes more than one line. */
  boxes: (Box | undefined)[] | null = $state.raw(null);
  /** The token that a drag from the query has reached. */
  reached: number | null = $state(null);

  /** Measuring costs a layout of the page: a text that is long anyway is not measured. */
  measure(long: boolean): void {
    this.boxes = !long && this.#onOneLine() ? this.#boxes() : null;
  }

  tokenAt(x: number, y: number): number | null {
    const inside = (box: DOMRect) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
    const hit = (element: HTMLElement | undefined) => element && [...element.getClientRects()].some(inside);
    const piece = this.pieces.find(({ tokens }, i) => tokens.length && hit(this.spans[i]));
    if (piece) return piece.tokens[0]!;
    const chip = this.chips.findIndex(hit);
    return chip < 0 ? null : chip;
  }

  #onOneLine(): boolean {
    const first = this.spans[0]?.getClientRects();
    const last = this.spans[this.pieces.length - 1]?.getClientRects();
    if (!first?.length || !last?.length) return true;
    return last[last.length - 1]!.top - first[0]!.top < first[0]!.height / 2;
  }

  #boxes(): (Box | undefined)[] {
    const origin = this.editor!.getBoundingClientRect();
    const boxes: (Box | undefined)[] = [];
    const place = (token: number, element: HTMLElement | undefined) => {
      const rect = element?.getBoundingClientRect();
      if (!rect) return;
      const { left, right, top, bottom } = rect;
      boxes[token] = { left: left - origin.left, right: right - origin.left, top: top - origin.top, bottom: bottom - origin.top };
    };
    this.pieces.forEach(({ tokens }, i) => tokens.forEach((token) => place(token, this.spans[i])));
    this.chips.forEach((chip, token) => place(token, chip));
    return boxes;
  }
}

/** All heads of a model on one canvas: a cell each, layers down, heads across, K/V groups apart. */
import type { Overview } from '../picture';
import type { Palette } from '../theme.svelte';
import { fontOf, setFont } from './fonts';

export interface Grid {
  n_layer: number;
  n_head: number;
  /** From one cell to the next, down and across. */
  pitch: number;
  wide: number;
  /** Left edge of each column of heads. */
  columns: number[];
  width: number;
  height: number;
}

const GUTTER = 19;
const SMALLEST = 5;
const LARGEST = 24;
const LAYER = fontOf(9);

/** Cells as large as both sides allow, at most twice as wide as high. What does not fit at the smallest size scrolls. */
export function gridOf(n_layer: number, n_head: number, n_kv_head: number, width: number, height: number): Grid {
  const groupSize = n_head / n_kv_head;
  const apart = groupSize > 1 ? 5 : 0;
  const across = (width - GUTTER - apart * (n_kv_head - 1)) / n_head;
  const pitch = Math.max(SMALLEST, Math.min(LARGEST, Math.floor(Math.min(across, height / n_layer))));
  const wide = Math.max(pitch, Math.min(LARGEST, 2 * pitch, Math.floor(across)));
  const columns = Array.from({ length: n_head }, (_, head) => GUTTER + head * wide + apart * Math.floor(head / groupSize));
  return { n_layer, n_head, pitch, wide, columns, width: columns[n_head - 1]! + wide + 2, height: n_layer * pitch + 3 };
}

/** The head at a point, as an index; null beside the cells. */
export function headAt({ n_layer, n_head, pitch, wide, columns }: Grid, x: number, y: number): number | null {
  const layer = Math.floor(y / pitch);
  const head = columns.findIndex((left) => x >= left && x < left + wide);
  return head >= 0 && layer >= 0 && layer < n_layer ? layer * n_head + head : null;
}

/** Where the head's cell stands, without the hairline between cells. */
export function cellOf({ n_head, pitch, wide, columns }: Grid, index: number): { x: number; y: number; width: number; height: number } {
  return { x: columns[index % n_head]!, y: Math.floor(index / n_head) * pitch + 1, width: wide - 1, height: pitch - 1 };
}

/** The weights of every head in ink, [height, width, RGBA]. `ratio`: pixels of the sheet for one of the grid. */
export function stampSheet({ stamps, rows }: Overview, grid: Grid, ink: string, ratio: number): ImageData {
  const sheet = new ImageData(Math.ceil(grid.width * ratio), Math.ceil(grid.height * ratio));
  const side = rows.length;
  const [down, across] = [grid.pitch, grid.wide].map((pitch) => coverage(side, Math.floor((pitch - 1) * ratio)));
  const colour = channels(ink);
  for (let index = 0; index < grid.n_layer * grid.n_head; index++) {
    const { x, y } = cellOf(grid, index);
    const corner = Math.round(y * ratio) * sheet.width + Math.round(x * ratio);
    stamp(sheet, corner, stamps.subarray(index * side * side, (index + 1) * side * side), down!, across!, colour);
  }
  return sheet;
}

interface Covered {
  from: number;
  shares: number[];
}
type Spans = Covered[] & { side: number };

function stamp({ data, width }: ImageData, corner: number, weights: Uint8Array, rows: Spans, columns: Spans, colour: readonly number[]): void {
  for (let row = 0; row < rows.length; row++) {
    for (let column = 0; column < columns.length; column++) {
      const weight = mean(weights, rows.side, rows[row]!, columns[column]!);
      if (weight === 0) continue; // nothing of it: half of a causal pattern
      const at = 4 * (corner + row * width + column);
      for (let channel = 0; channel < 3; channel++) data[at + channel] = colour[channel]!;
      // Weak weights are lifted: most of a pattern is below 0.1.
      data[at + 3] = 255 * (weight / 255) ** 0.6;
    }
  }
}

/** The mean weight within one pixel. */
function mean(weights: Uint8Array, side: number, down: Covered, across: Covered): number {
  let sum = 0;
  for (let i = 0; i < down.shares.length; i++) {
    const at = (down.from + i) * side + across.from;
    for (let j = 0; j < across.shares.length; j++) sum += down.shares[i]! * across.shares[j]! * weights[at + j]!;
  }
  return sum;
}

/** Which of `side` entries each of `size` pixels covers, and how much of the pixel each is. */
function coverage(side: number, size: number): Spans {
  const spans = Array.from({ length: size }, (_, pixel) => {
    const [start, end] = [(pixel * side) / size, ((pixel + 1) * side) / size];
    const from = Math.floor(start);
    const last = Math.min(side, Math.ceil(end - 1e-9));
    const shares = Array.from({ length: last - from }, (_, i) => {
      return (Math.min(end, from + i + 1) - Math.max(start, from + i)) / (end - start);
    });
    return { from, shares };
  });
  return Object.assign(spans, { side });
}

/** The three channels of a colour written #rrggbb. */
function channels(colour: string): number[] {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** The ground the stamps stand on, and the layers' numbers. */
export function paintGround(ctx: CanvasRenderingContext2D, grid: Grid, palette: Palette): void {
  ctx.fillStyle = palette.well;
  for (let index = 0; index < grid.n_layer * grid.n_head; index++) {
    const { x, y, width, height } = cellOf(grid, index);
    ctx.fillRect(x, y, width, height);
  }
  ctx.fillStyle = palette.soft;
  setFont(ctx, LAYER);
  ctx.textAlign = 'right';
  ctx.textBaseline = 'middle';
  const step = grid.pitch >= 11 ? 1 : 5;
  for (let layer = 0; layer < grid.n_layer; layer += step) {
    ctx.fillText(String(layer), GUTTER - 5, (layer + 0.5) * grid.pitch + 1);
  }
}

/** One value per head on a scale that ends at `end`: ink above 0, magenta below. A dot where it is not known yet. */
export function paintHeat(ctx: CanvasRenderingContext2D, grid: Grid, values: ArrayLike<number>, end: number, palette: Palette): void {
  for (let index = 0; index < values.length; index++) {
    const { x, y, width, height } = cellOf(grid, index);
    const value = values[index]!;
    ctx.fillStyle = Number.isNaN(value) ? palette.edge : value > 0 ? palette.ink : palette.against;
    if (Number.isNaN(value)) ctx.fillRect(x + width / 2 - 0.5, y + height / 2 - 0.5, 1, 1);
    else {
      ctx.globalAlpha = end === 0 ? 0 : Math.min(1, Math.abs(value) / end);
      ctx.fillRect(x, y, width, height);
      ctx.globalAlpha = 1;
    }
  }
}

/** A frame around a head: the open one drawn through, the pinned one dashed, others thin; dashed and thin: before the edits. */
export function paintFrame(ctx: CanvasRenderingContext2D, grid: Grid, index: number, kind: 'open' | 'pinned' | 'marked' | 'before', palette: Palette): void {
  const { x, y, width, height } = cellOf(grid, index);
  const frame = (grow: number, colour: string, thick: number) => {
    ctx.strokeStyle = colour;
    ctx.lineWidth = thick;
    ctx.strokeRect(x - grow, y - grow, width + 2 * grow, height + 2 * grow);
  };
  if (kind === 'marked') return frame(0.5, palette.ink, 1);
  if (kind === 'before') {
    ctx.setLineDash([2, 2]);
    frame(0.5, palette.soft, 1);
    return ctx.setLineDash([]);
  }
  frame(1, palette.paper, 4);
  if (kind === 'pinned') ctx.setLineDash([3, 2]);
  frame(1, palette.ink, 2);
  ctx.setLineDash([]);
}

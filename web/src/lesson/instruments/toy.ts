/** The toy of two dimensions: words as points, two matrices of two rows, and their scores. */

/** [first, second]. */
export type Point = [number, number];
/** Row 0 is where (1, 0) goes, row 1 where (0, 1) goes: x W = x₀ row₀ + x₁ row₁. */
export type Matrix = number[][];

export interface ToySettings {
  words: string[];
  /** [word][2]. */
  points: Matrix;
  w_q: Matrix;
  w_k: Matrix;
  tied: boolean;
}

/** How far an arrow can be drawn, in each direction. */
export const REACH = 3;
export const LEAD = 2;

export function times(x: readonly number[], matrix: Matrix): Point {
  const [first, second] = matrix as [number[], number[]];
  return [x[0]! * first[0]! + x[1]! * second[0]!, x[0]! * first[1]! + x[1]! * second[1]!];
}

/** Query and key of every word: with the tie on, one matrix makes both. */
export function projected({ points, w_q, w_k, tied }: ToySettings): { q: Point[]; k: Point[] } {
  return { q: points.map((x) => times(x, w_q)), k: points.map((x) => times(x, tied ? w_q : w_k)) };
}

/** s[i][j] = q_i · k_j. */
export function scores(settings: ToySettings): Matrix {
  const { q, k } = projected(settings);
  return q.map((one) => k.map((other) => one[0] * other[0] + one[1] * other[1]));
}

export interface Verdict {
  from: number;
  to: number;
  /** s(from → to) is above everything else in its row. */
  largest: boolean;
  /** s(from → to) − s(to → from). */
  lead: number;
  passed: boolean;
}

/** Whether `from` seeks `to`, and not the other way round; null where the words are not there. */
export function judge(settings: ToySettings, from = 'it', to = 'cat'): Verdict | null {
  const [i, j] = [settings.words.indexOf(from), settings.words.indexOf(to)];
  const s = scores(settings);
  if (!s[i] || !s[j]) return null;
  const largest = s[i].every((score, key) => key === j || score < s[i]![j]!);
  // With one matrix the two are the same product: rounding must not say otherwise.
  const lead = settings.tied ? 0 : s[i][j]! - s[j][i]!;
  return { from: i, to: j, largest, lead, passed: largest && lead >= LEAD };
}

/** A place for an arrow's end: within reach, in steps of a hundredth. */
export function within(x: number, y: number): Point {
  const put = (value: number) => Math.round(100 * Math.min(REACH, Math.max(-REACH, value))) / 100 + 0;
  return [put(x), put(y)];
}

/** A matrix with one row moved. */
export function withRow(matrix: Matrix, row: number, to: Point): Matrix {
  return matrix.map((old, i) => (i === row ? to : old));
}

/** Where an arrow key moves an arrow's end; null for other keys. */
export function stepped([x, y]: readonly number[], key: string, far: boolean): Point | null {
  const steps: Record<string, Point> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const step = steps[key];
  const size = far ? 0.5 : 0.1;
  return step ? within(x! + size * step[0], y! + size * step[1]) : null;
}

/** Principal directions, and the eigenvectors behind them (Golub & Van Loan, sections 8.3.1 and 8.3.3). */
import { addScaled, inner, norm, scaled } from './linalg';

/** The directions along which centred rows vary most, with the variance along each (summed over rows) and in all. */
export function principal(
  rows: readonly Float64Array[],
  count: number,
): { directions: Float64Array[]; variances: number[]; total: number } {
  const total = rows.reduce((sum, row) => sum + inner(row, row), 0);
  const d = rows[0]?.length ?? 0;
  // Rows and columns have the same variances: take the smaller of the two matrices of inner products.
  const wide = rows.length < d;
  const pairs = symmetricEigen(wide ? innerProducts(rows) : scatter(rows, d), count);
  const kept = pairs.filter(({ value }) => value > 1e-12 * total);
  const directions = kept.map(({ value, vector }) => {
    if (!wide) return vector;
    const direction = new Float64Array(d);
    rows.forEach((row, j) => addScaled(direction, row, vector[j]! / Math.sqrt(value)));
    return direction;
  });
  return { directions, variances: kept.map(({ value }) => value), total };
}

export interface Eigenpair {
  value: number;
  vector: Float64Array;
}

/**
 * The eigenpairs of the `count` largest eigenvalues (or all), largest first. Deterministic; vectors have length 1 and
 * either sign. Reflections and turns are kept and played back for these vectors alone: most of the work would be the others.
 */
export function symmetricEigen(matrix: readonly Float64Array[], count = matrix.length): Eigenpair[] {
  const a = matrix.map((row) => Float64Array.from(row));
  const mirrors = tridiagonalise(a);
  const values = Float64Array.from(a, (row, i) => row[i]!);
  const beside = Float64Array.from(a.slice(1), (row, i) => row[i]!);
  const turns = diagonalise(values, beside);
  const order = [...values.keys()].sort((i, j) => values[j]! - values[i]!).slice(0, count);
  return order.map((i) => ({ value: values[i]!, vector: playedBack(i, values.length, turns, mirrors) }));
}

/** A turn of the rows `row` and `row` + 1 by cosine and sine. */
type Turn = [row: number, c: number, s: number];

function playedBack(i: number, n: number, turns: readonly Turn[], mirrors: readonly Float64Array[]): Float64Array {
  const vector = new Float64Array(n);
  vector[i] = 1;
  for (let t = turns.length - 1; t >= 0; t--) {
    const [k, c, s] = turns[t]!;
    const [x, y] = [vector[k]!, vector[k + 1]!];
    vector[k] = c * x - s * y;
    vector[k + 1] = s * x + c * y;
  }
  for (let m = mirrors.length - 1; m >= 0; m--) addScaled(vector, mirrors[m]!, -2 * inner(mirrors[m]!, vector));
  return vector;
}

/** Householder reflections, in place, until only the diagonal and its neighbours are left; their unit normals. */
function tridiagonalise(a: Float64Array[]): Float64Array[] {
  const n = a.length;
  const normals: Float64Array[] = [];
  for (let k = 0; k < n - 2; k++) {
    const normal = a[k]!.slice();
    normal.fill(0, 0, k + 1);
    normal[k + 1]! += (normal[k + 1]! < 0 ? -1 : 1) * norm(normal);
    const length = norm(normal);
    if (length === 0) continue;
    const v = scaled(normal, 1 / length);
    const image = new Float64Array(n);
    for (let i = k; i < n; i++) image[i] = inner(a[i]!, v);
    addScaled(image, v, -inner(v, image));
    for (let i = k; i < n; i++) addScaled(addScaled(a[i]!, image, -2 * v[i]!), v, -2 * image[i]!);
    normals.push(v);
  }
  return normals;
}

/** Implicit QR steps with Wilkinson's shift until nothing is left beside the diagonal; the turns they are made of. */
function diagonalise(values: Float64Array, beside: Float64Array): Turn[] {
  const turns: Turn[] = [];
  const size = (i: number) => Math.abs(values[i]!) + Math.abs(values[i + 1]!);
  const negligible = (i: number) => Math.abs(beside[i]!) <= Number.EPSILON * size(i);
  let last = values.length - 1;
  for (let step = 0; last > 0 && step < 60 * values.length; step++) {
    let first = last;
    while (first > 0 && !negligible(first - 1)) first--;
    if (first === last) last--;
    else qrStep(values, beside, first, last, turns);
  }
  return turns;
}

function qrStep(values: Float64Array, beside: Float64Array, first: number, last: number, turns: Turn[]): void {
  const half = (values[last - 1]! - values[last]!) / 2;
  const corner = beside[last - 1]!;
  let x = values[first]! - values[last]! + corner ** 2 / (half + (half < 0 ? -1 : 1) * Math.hypot(half, corner));
  let bulge = beside[first]!;
  for (let k = first; k < last; k++) {
    const length = Math.hypot(x, bulge);
    const [c, s] = length === 0 ? [1, 0] : [x / length, bulge / length];
    if (k > first) beside[k - 1] = length;
    const [a, b, d] = [values[k]!, beside[k]!, values[k + 1]!];
    values[k] = c * c * a + 2 * c * s * b + s * s * d;
    values[k + 1] = s * s * a - 2 * c * s * b + c * c * d;
    x = beside[k] = c * s * (d - a) + (c * c - s * s) * b;
    if (k < last - 1) {
      bulge = s * beside[k + 1]!;
      beside[k + 1]! *= c;
    }
    turns.push([k, c, s]);
  }
}

function innerProducts(vectors: readonly Float64Array[]): Float64Array[] {
  const products = vectors.map(() => new Float64Array(vectors.length));
  vectors.forEach((a, i) => {
    for (let j = 0; j <= i; j++) products[i]![j] = products[j]![i] = inner(a, vectors[j]!);
  });
  return products;
}

/** Inner products of the columns, summed up row by row: no column is copied out. */
function scatter(rows: readonly Float64Array[], d: number): Float64Array[] {
  const products = Array.from({ length: d }, () => new Float64Array(d));
  for (const row of rows) {
    for (let i = 0; i < d; i++) {
      const [own, sums] = [row[i]!, products[i]!];
      for (let j = 0; j <= i; j++) sums[j]! += own * row[j]!;
    }
  }
  products.forEach((sums, i) => sums.subarray(0, i).forEach((sum, j) => (products[j]![i] = sum)));
  return products;
}

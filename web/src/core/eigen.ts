/** Principal directions, and the eigenvectors behind them (Golub & Van Loan, sections 8.3.1 and 8.3.3). */
import { addScaled, norm, scaled } from './linalg';
import { dot } from './mechanism';

/** The directions along which centred rows vary most, with the variance along each (summed over rows) and in all. */
export function principal(
  rows: readonly Float64Array[],
  count: number,
): { directions: Float64Array[]; variances: number[]; total: number } {
  const total = rows.reduce((sum, row) => sum + dot(row, row), 0);
  const d = rows[0]?.length ?? 0;
  // Rows and columns have the same variances: take the smaller of the two matrices of inner products.
  const wide = rows.length < d;
  const vectors = wide ? rows : columns(rows, d);
  const pairs = symmetricEigen(innerProducts(vectors));
  const kept = pairs.slice(0, count).filter(({ value }) => value > 1e-12 * total);
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

/** All eigenpairs, largest eigenvalue first. Deterministic; vectors have length 1 and either sign. */
export function symmetricEigen(matrix: readonly Float64Array[]): Eigenpair[] {
  const a = matrix.map((row) => Float64Array.from(row));
  const vectors = tridiagonalise(a);
  const values = Float64Array.from(a, (row, i) => row[i]!);
  const beside = Float64Array.from(a.slice(1), (row, i) => row[i]!);
  diagonalise(values, beside, vectors);
  return vectors.map((vector, i) => ({ value: values[i]!, vector })).sort((x, y) => y.value - x.value);
}

/** Householder reflections, in place, until only the diagonal and its neighbours are left; the basis, as rows. */
function tridiagonalise(a: Float64Array[]): Float64Array[] {
  const n = a.length;
  const basis = a.map((_, i) => Float64Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)));
  for (let k = 0; k < n - 2; k++) {
    const normal = a[k]!.slice();
    normal.fill(0, 0, k + 1);
    normal[k + 1]! += (normal[k + 1]! < 0 ? -1 : 1) * norm(normal);
    const length = norm(normal);
    if (length === 0) continue;
    const v = scaled(normal, 1 / length);
    const image = Float64Array.from(a, (row) => dot(row, v));
    addScaled(image, v, -dot(v, image));
    const mean = new Float64Array(n);
    for (let i = k + 1; i < n; i++) addScaled(mean, basis[i]!, v[i]!);
    for (let i = k; i < n; i++) {
      addScaled(addScaled(a[i]!, image, -2 * v[i]!), v, -2 * image[i]!);
      addScaled(basis[i]!, mean, -2 * v[i]!);
    }
  }
  return basis;
}

/** Implicit QR steps with Wilkinson's shift until nothing is left beside the diagonal; the vectors turn along. */
function diagonalise(values: Float64Array, beside: Float64Array, vectors: Float64Array[]): void {
  const size = (i: number) => Math.abs(values[i]!) + Math.abs(values[i + 1]!);
  const negligible = (i: number) => Math.abs(beside[i]!) <= Number.EPSILON * size(i);
  let last = values.length - 1;
  for (let step = 0; last > 0 && step < 60 * values.length; step++) {
    let first = last;
    while (first > 0 && !negligible(first - 1)) first--;
    if (first === last) last--;
    else qrStep(values, beside, vectors, first, last);
  }
}

function qrStep(
  values: Float64Array,
  beside: Float64Array,
  vectors: Float64Array[],
  first: number,
  last: number,
): void {
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
    turnRows(vectors[k]!, vectors[k + 1]!, c, s);
  }
}

function turnRows(a: Float64Array, b: Float64Array, c: number, s: number): void {
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    a[i] = c * x + s * y;
    b[i] = c * y - s * x;
  }
}

function innerProducts(vectors: readonly Float64Array[]): Float64Array[] {
  const products = vectors.map(() => new Float64Array(vectors.length));
  vectors.forEach((a, i) => {
    for (let j = 0; j <= i; j++) products[i]![j] = products[j]![i] = dot(a, vectors[j]!);
  });
  return products;
}

function columns(rows: readonly Float64Array[], d: number): Float64Array[] {
  return Array.from({ length: d }, (_, i) => Float64Array.from(rows, (row) => row[i]!));
}

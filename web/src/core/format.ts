/** Numbers and tokens as the page prints them. */

/** A token as a label: without the spaces around it, line breaks visible. */
export function label(token: string): string {
  return token.replace(/\n/g, '⏎').replace(/\t/g, '⇥').trim() || '␣';
}

/** A probability in percent with one digit; what is not nothing never reads as nothing. */
export function percent(p: number): string {
  return p > 0 && p < 0.0005 ? '<0.1' : (100 * p).toFixed(1);
}

/** A weight in two digits; what is not nothing never reads as nothing. */
export function hundredths(weight: number): string {
  return weight > 0 && weight < 0.005 ? '< 0.01' : weight.toFixed(2);
}

/** A weight in thousandths, and never 0 for what is not. */
export function thousandths(weight: number): string {
  return weight === 0 ? '0' : weight < 0.0005 ? '<.001' : weight.toFixed(3);
}

/** A signed number with a real minus. */
export function signed(value: number, digits = 2): string {
  return value.toFixed(digits).replace('-', '−');
}

/** A number of bytes in the unit that keeps it short. */
export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  const value = n / 1024 ** power;
  return `${Number(value.toPrecision(value < 1000 ? 3 : 4))} ${units[power]}`;
}

/** The same with its sign always: for differences and effects. */
export function plus(value: number, digits = 2): string {
  return value > 0 ? `+${signed(value, digits)}` : signed(value, digits);
}

/** `digits` significant ones, in plain notation where that stays short. */
export function significant(value: number, digits: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(digits - 1).replaceAll('-', '−');
  return String(Number(value.toPrecision(digits))).replace('-', '−');
}

/** A token within a sentence: quoted, so that the space before it shows. */
export function quoted(token: string): string {
  return JSON.stringify(token);
}

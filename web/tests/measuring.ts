/** Stands for the canvas that texts are measured on: eight pixels a character. It counts what it measures. */
export class Measuring {
  static measured: string[] = [];
  font = '';

  getContext(): this {
    return this;
  }

  measureText(text: string): { width: number } {
    Measuring.measured.push(`${this.font.slice(0, 8)} ${text}`);
    return { width: 8 * text.length };
  }
}

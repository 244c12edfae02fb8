/** Time ↔ sentences, and how a time is written. */

/** The sentence being spoken at this time: the last that has begun; -1 before the first. */
export function sentenceAt(sentences: readonly (readonly [number, number])[], time: number): number {
  let [low, high] = [0, sentences.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sentences[middle]![0] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** 65 → 1:05 */
export function minutesAndSeconds(time: number): string {
  const seconds = Math.max(0, Math.floor(time));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

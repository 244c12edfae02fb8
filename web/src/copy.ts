/** To the clipboard, and said so. Where the browser forbids it, what would have been copied is said instead. */
import { lab } from './store.svelte';

export async function copyOut(text: string, told = text): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    lab.tell(lab.say.bench.copied(told));
  } catch {
    lab.tell(lab.say.bench.notCopied(told));
  }
}

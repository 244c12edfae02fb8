/** A state from the address: at the start, and when a link is opened in a page that is already there. */
import { fromLink } from './core/share';
import { lab } from './store.svelte';

export async function openLink(): Promise<void> {
  if (location.hash.length < 2) return;
  try {
    lab.choose(await fromLink(location.hash));
  } catch (error) {
    lab.tell(error instanceof Error ? error.message : String(error));
  }
}

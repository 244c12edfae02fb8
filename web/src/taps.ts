/** What a mouse is told when it rests on something, a finger is told when it taps. */
import { lab } from './store.svelte';

/** Buttons and links do something by themselves; these only choose how the heads are coloured. */
const OWN = 'button:not(.modes button), a, summary';

export function tellOnTap(event: MouseEvent): void {
  if ((event as PointerEvent).pointerType !== 'touch') return;
  const at = (event.target as Element).closest<HTMLElement>('[title]');
  if (at?.title && !at.closest(OWN)) lab.tell(at.title);
}

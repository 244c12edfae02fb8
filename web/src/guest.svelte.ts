/** The playground as a guest of a lesson: it shows what the lesson gives, and tells what the reader makes of it. */
import { fromLink, toLink, toShared, type Chosen } from './core/share';
import { hear, say, type Given, type Told } from './embedding';
import { lab } from './store.svelte';
import { theme } from './theme.svelte';

const packed = (chosen: Chosen) => JSON.stringify(toShared(chosen));

export class Guest {
  /** The state that both sides know; null until the lesson has given one. */
  #known: string | null = null;
  /** One state after the other, in the order in which they were given. */
  #shown: Promise<void> = Promise.resolve();

  /** Say that this page listens; `begun` once the first state is there. Returns what ends it. */
  join(begun: () => void): () => void {
    const leave = hear<Given>(
      () => window.parent,
      ({ state, dark }) => {
        if (dark !== undefined) theme.choice = dark ? 'dark' : 'light';
        if (state !== undefined) this.#shown = this.#shown.then(() => this.#show(state)).then(begun);
      },
    );
    say<Told>(window.parent, { ready: true });
    return leave;
  }

  /** In an effect: what the reader changes, and that a drag has begun. */
  tell(): void {
    const chosen = lab.chosen();
    const now = packed(chosen);
    if (this.#known === null || (now === this.#known && !lab.dragging)) return;
    this.#known = now;
    toLink(chosen).then(
      (state) => now === this.#known && say<Told>(window.parent, { state }),
      () => say<Told>(window.parent, { state: null }),
    );
  }

  async #show(state: string): Promise<void> {
    try {
      const chosen = await fromLink(state);
      // Known before the effect that this wakes.
      this.#known = packed(chosen);
      lab.choose(chosen);
    } catch (error) {
      lab.tell(error instanceof Error ? error.message : String(error));
    }
  }
}

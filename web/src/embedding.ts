/** The playground inside a lesson's page, in a frame of its own: what the two say to each other. */

/** From the lesson: the state to show, as the fragment of a link; the theme. */
export interface Given {
  state?: string;
  dark?: boolean;
}

/** From the playground: it listens; or what the reader has made of the state, null where that fits into no link. */
export type Told = { ready: true } | { state: string | null };

/** Behind the playground's address, where a lesson puts it into a frame. */
export const FRAMED = '?embedded';

/** This page is that playground. */
export const embedded = typeof window !== 'undefined' && window.parent !== window && location.search === FRAMED;

export function say<M extends Given | Told>(to: Window | null | undefined, message: M): void {
  to?.postMessage(message, location.origin);
}

/** Listen to one window of our own, and to nobody else. Returns what ends it. */
export function hear<M extends Given | Told>(from: () => Window | null | undefined, take: (message: M) => void): () => void {
  const heard = (event: MessageEvent<M>) => {
    if (event.origin === location.origin && event.source === from()) take(event.data);
  };
  addEventListener('message', heard);
  return () => removeEventListener('message', heard);
}

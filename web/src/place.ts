/** Where this page lies: the folder its addresses start from, the server's wire, and whether a server is there at all. */

/** The script lies one folder below, in `assets/` as built and in `src/` in development. */
const here = import.meta.url;
export const root = new URL('../', here);

/** Exported to files: no server runs, answers come from recordings. `qkvlab course export` marks the page so. */
export const recorded =
  typeof document !== 'undefined' && document.querySelector<HTMLMetaElement>('meta[name=qkvlab-desk]')?.content === 'recorded';

export function wire(): string {
  const url = new URL('ws', root);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

/** A file of the course beside the page. */
export function courseFile(name: string): string {
  return new URL(`course/${name}`, root).href;
}

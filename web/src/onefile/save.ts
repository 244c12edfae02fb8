/** "Send one file": the open head as it stands, as one page that needs nothing else. */
import { fileName } from '../core/record';
import { toShared } from '../core/share';
import { root } from '../place';
import { lab } from '../store.svelte';
import { fill } from './fill';
import { pack, type Kept } from './kept';

const PATIENCE = 10_000;
const AGAIN = 50;

/** The page, built beside this one. */
async function template(): Promise<string> {
  const response = await fetch(new URL('onefile/template.html', root));
  if (!response.ok) throw new Error(lab.say.header.noTemplate(response.status));
  return response.text();
}

export async function oneFile(): Promise<{ name: string; blob: Blob }> {
  const page = await template();
  await settled();
  const { info, shown, open, version, hideFirst, principal, byPair } = lab;
  if (!info || !shown || !open) throw new Error(lab.say.header.nothingToExport);
  const kept: Kept = {
    format: 1,
    version,
    saved: new Date().toISOString().slice(0, 10),
    state: toShared({ ...lab.chosen(), pinned: null }),
    view: { hideFirst, principal, byPair },
    info,
    tokens: shown.tokens,
    head: open.reply,
    prediction: shown.prediction,
    words: shown.words,
  };
  const title = `${shown.text} · ${info.badge} · ${open.reply.head} · QKV Lab`;
  const blob = new Blob([fill(page, title, pack(kept, open))], { type: 'text/html' });
  return { name: fileName(shown.text, open.reply.head, 'html'), blob };
}

/** Wait until everything shown is the answer to what is chosen: a file never mixes two states. */
async function settled(): Promise<void> {
  for (let waited = 0; !lab.server.settled && waited < PATIENCE; waited += AGAIN) await new Promise((done) => setTimeout(done, AGAIN));
  if (!lab.server.settled) throw new Error(lab.say.header.notSettled);
}

/** The head that a lesson opens the playground on, as a page of its own: it is dragged and edited without a program. */
import type { ModelInfo } from '../../core/protocol';
import { toShared } from '../../core/share';
import { fill } from '../../onefile/fill';
import { pack } from '../../onefile/kept';
import type { OpenHead, Picture } from '../../picture';
import { root } from '../../place';
import type { ViewFields } from '../probe.svelte';
import type { Recorded } from '../recordings';
import { chosen, type PlaygroundSettings } from './chosen';

/** What is asked of the model; `course/reachable.py` records just this. */
export function headRequest(settings: PlaygroundSettings): ViewFields & { model: string } {
  const { model, text, head, edits } = settings;
  const { query, key } = toShared(chosen(settings));
  return { model, text, heads: [head], edits, query, key, parts: ['head', 'prediction', 'words'] };
}

/** The page, with the head in it. */
export async function headPage(settings: PlaygroundSettings, info: ModelInfo, picture: Picture, open: OpenHead, { version, day }: Pick<Recorded, 'version' | 'day'>): Promise<Blob> {
  const response = await fetch(new URL('onefile/template.html', root));
  if (!response.ok) throw new Error(response.statusText);
  const kept = {
    format: 1 as const,
    version,
    saved: day,
    state: toShared(chosen(settings)),
    view: { hideFirst: false, principal: false, byPair: false },
    info,
    tokens: picture.tokens,
    head: open.reply,
    prediction: picture.prediction,
    words: picture.words,
  };
  const page = fill(await response.text(), `${settings.text} · ${info.badge} · ${settings.head} · QKV Lab`, pack(kept, open));
  return new Blob([page], { type: 'text/html' });
}

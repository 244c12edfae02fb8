/** Files of exactly what is on screen: the instrument as SVG or PNG, its numbers as JSON, or the head itself as a page. */
import { tick } from 'svelte';
import { fileName, recordOf } from './core/record';
import { oneFile } from './onefile/save';
import { snapshot, type Snapshot } from './snapshot/snapshot';
import { SHARP, stage } from './stage.svelte';
import { lab } from './store.svelte';

export type Format = 'html' | 'svg' | 'png' | 'json';

/** Save it; returns the file's name and its size in bytes. */
export async function exportAs(format: Format): Promise<{ name: string; size: number }> {
  const { name, blob } = format === 'html' ? await oneFile() : await drawn(format);
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  return { name, size: blob.size };
}

async function drawn(format: 'svg' | 'png' | 'json'): Promise<{ name: string; blob: Blob }> {
  const name = fileName(lab.shown?.text ?? lab.text, lab.head, format);
  return { name, blob: format === 'json' ? new Blob([jsonOf()], { type: 'application/json' }) : await pictureOf(format) };
}

function jsonOf(): string {
  const { info, shown, open, queryAt, row, rowBefore } = lab;
  if (!info || !shown || !open || queryAt === null || !row || !rowBefore) throw new Error(lab.say.header.nothingToExport);
  const { tokens, prediction } = shown;
  const head = open.reply.head;
  return recordOf({ chosen: lab.chosen(), badge: info.badge, tokens: tokens.tokens, head, query: queryAt, row, rowBefore, prediction });
}

async function pictureOf(format: 'svg' | 'png'): Promise<Blob> {
  const taken = await sharpSnapshot();
  return format === 'svg' ? new Blob([taken.svg], { type: 'image/svg+xml' }) : rasterOf(taken);
}

/** The canvases paint themselves at double size for as long as it takes. */
async function sharpSnapshot(): Promise<Snapshot> {
  stage.exporting = true;
  try {
    await tick();
    return snapshot(stage.element!, `${lab.info?.badge ?? ''} · ${lab.head} · ${lab.shown?.text ?? ''}`);
  } finally {
    stage.exporting = false;
  }
}

async function rasterOf({ svg, width, height }: Snapshot): Promise<Blob> {
  const url = URL.createObjectURL(new Blob([svg], { type: 'image/svg+xml' }));
  try {
    const image = new Image(width, height);
    image.src = url;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: width * SHARP, height: height * SHARP });
    canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/png'));
    if (!blob) throw new Error(lab.say.header.noPicture);
    return blob;
  } finally {
    URL.revokeObjectURL(url);
  }
}

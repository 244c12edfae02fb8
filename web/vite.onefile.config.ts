/** The template of a saved file: script and style of `src/onefile`, one of each, within one page that may load nothing. */
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';

/** In a script, these three would end it or change how the page around it is read. `\x3C` is `<` in every literal. */
const BREAKS = /<(?=!--|\/?script)/gi;

const hash = (text: string) => `sha256-${createHash('sha256').update(text).digest('base64')}`;

const inOnePage: Plugin = {
  name: 'in-one-page',
  enforce: 'post',
  generateBundle(_, bundle) {
    const files = Object.values(bundle);
    const [chunk, ...others] = files.filter((file) => file.type === 'chunk');
    const [sheet, ...more] = files.filter((file) => file.type === 'asset');
    if (!chunk || !sheet || others.length + more.length > 0) this.error(`expected one script and one style, got ${files.map((file) => file.fileName).join(', ')}`);
    const script = chunk.code.replace(BREAKS, '\\x3C').trim();
    const style = String(sheet.source).trim();
    if (/<\/style|\r/i.test(style) || script.includes('\r')) this.error('the style or the script would not survive within a page');
    const places: Record<string, string> = { script, style, 'script-hash': hash(script), 'style-hash': hash(style) };
    const source = readFileSync('src/onefile/template.html', 'utf-8').replace(/%(script-hash|style-hash|script|style)%/g, (_, place: string) => places[place]!);
    for (const name of Object.keys(bundle)) delete bundle[name];
    this.emitFile({ type: 'asset', fileName: 'template.html', source });
  },
};

export default defineConfig({
  plugins: [svelte({ configFile: false }), inOnePage],
  publicDir: false,
  build: {
    outDir: '../src/qkvlab/server/page/onefile',
    emptyOutDir: true,
    target: 'es2022',
    lib: { entry: 'src/onefile/main.ts', formats: ['iife'], name: 'qkvlab', fileName: 'file', cssFileName: 'file' },
  },
});

/** The entry of a saved file: reads the head that the file holds, and shows it. */
import { mount } from 'svelte';
import '../app.css';
import { fromShared } from '../core/share';
import { lab } from '../store.svelte';
import { theme } from '../theme.svelte';
import { Answers } from './answers';
import OneFile from './OneFile.svelte';
import { fromBase64, unpack, type Opened } from './kept';

function read(): Opened | null {
  try {
    return unpack(fromBase64(document.getElementById('kept')!.textContent));
  } catch {
    return null;
  }
}

const opened = read();
if (opened) {
  const { kept } = opened;
  lab.choose(fromShared(kept.state));
  Object.assign(lab, kept.view);
  const base = lab.state().edits;
  theme.start();
  lab.start('file:', () => new Answers(opened, base, lab.say.onefile.beyond));
  mount(OneFile, { target: document.body, props: { kept, base } });
} else document.body.textContent = lab.say.onefile.broken;

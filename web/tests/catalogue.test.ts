/** A translator finds every sentence in src/en: no component and no other module has words of its own. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'svelte/compiler';
import { expect, test } from 'vitest';

const SOURCE = join(__dirname, '..', 'src');
/** Attributes that a person reads or hears. */
const TOLD = new Set(['title', 'aria-label', 'aria-description', 'aria-roledescription', 'placeholder', 'alt', 'label']);
/** What stands in these is the same in every language: what one types, and what a program prints. */
const SAME = new Set(['code', 'kbd', 'pre']);
const WORDS = /\p{L}{2,}/u;

interface Node {
  type?: string;
  name?: string;
  data?: string;
  value?: unknown;
}

/** The words within a component's markup, in the order of their lines. */
function wordsOf(markup: string): string[] {
  const found: string[] = [];
  const walk = (node: unknown, told: boolean): void => {
    if (Array.isArray(node)) return node.forEach((child) => walk(child, told));
    if (typeof node !== 'object' || node === null) return;
    const { type, name, data } = node as Node;
    if (type === 'Text' && told && WORDS.test(data!)) found.push(data!.trim());
    if (type === 'StyleDirective' || (type === 'RegularElement' && SAME.has(name!))) return;
    if (type === 'Attribute') return walk((node as Node).value, TOLD.has(name!));
    for (const [key, child] of Object.entries(node)) if (key !== 'loc') walk(child, told);
  };
  walk(parse(markup, { modern: true }).fragment, true);
  return found;
}

const components = readdirSync(SOURCE, { recursive: true, encoding: 'utf-8' }).filter((path) => path.endsWith('.svelte'));

test.each(components)('%s says nothing itself', (path) => {
  expect(wordsOf(readFileSync(join(SOURCE, path), 'utf-8'))).toEqual([]);
});

test('words in a component are found', () => {
  expect(wordsOf('<p title="Look here">x <b>two words</b> {say.more}</p><i class="not this"></i>')).toEqual(['Look here', 'two words']);
});

/** A translator finds every sentence in src/en: no component's markup, and no string of a module, has words of its own. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'svelte/compiler';
import ts from 'typescript';
import { expect, test } from 'vitest';

const SOURCE = join(__dirname, '..', 'src');
/** Attributes that a person reads or hears. */
const TOLD = new Set(['title', 'aria-label', 'aria-description', 'aria-roledescription', 'placeholder', 'alt', 'label']);
/** What stands in these is the same in every language: what one types, and what a program prints. */
const SAME = new Set(['code', 'kbd', 'pre']);
const WORD = /\p{L}{2,}/u;
/** Of a module's strings, what reads like words beside each other: names and keys are single words. */
const WORDS = /\p{L}{2,} (\{\} |\p{P}+)?\p{L}{2,}|\p{L}{2,} \{\}|\{\} \p{L}{2,}/u;
/** Texts that a model reads, and the library's Python: no sentences of ours. */
const NO_SENTENCES = ['examples.ts', 'lesson/instruments/measured.ts', 'core/python.ts'];
/** Keys whose sentences are in the catalogue, a unit, and what a browser reads. */
const KEYS = new Set([
  ...['one key', 'equal keys', 'two keys', 'one line', 'query at right angles', 'up {}', 'across {}', '{} MB'],
  ...['button:not(.modes button), a, summary', '{} {}px "DejaVu Sans", "Noto Sans", system-ui, sans-serif'],
]);
const NAME = 'QKV Lab';

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
    if (type === 'Text' && told && WORD.test(data!)) found.push(data!.trim());
    if (type === 'StyleDirective' || (type === 'RegularElement' && SAME.has(name!))) return;
    if (type === 'Attribute') return walk((node as Node).value, TOLD.has(name!));
    for (const [key, child] of Object.entries(node)) if (key !== 'loc') walk(child, told);
  };
  walk(parse(markup, { modern: true }).fragment, true);
  return found;
}

/** The strings of a script that read like words. Errors may have some, but for the ones that a reader is told (LinkError). */
function stringsOf(script: string): string[] {
  const found: string[] = [];
  const walk = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isTypeNode(node) || (ts.isNewExpression(node) && /(?<!Link)Error$/.test(node.expression.getText()))) return;
    const text = ts.isStringLiteralLike(node) ? node.text : ts.isTemplateExpression(node) ? templateOf(node) : '';
    if (WORDS.test(text.replaceAll(NAME, '')) && !KEYS.has(text)) found.push(text);
    ts.forEachChild(node, walk);
  };
  walk(ts.createSourceFile('script.ts', script, ts.ScriptTarget.Latest, true));
  return found;
}

const templateOf = (node: ts.TemplateExpression) => node.head.text + node.templateSpans.map(({ literal }) => `{}${literal.text}`).join('');

const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf-8' }).filter((path) => !path.startsWith('en/') && !NO_SENTENCES.includes(path));
const read = (path: string) => readFileSync(join(SOURCE, path), 'utf-8');
const scriptsOf = (path: string) => (path.endsWith('.ts') ? [read(path)] : [...read(path).matchAll(/<script[^>]*>([\s\S]*?)<\/script>/g)].map(([, script]) => script!));

test.each(files.filter((path) => path.endsWith('.svelte')))('the markup of %s says nothing itself', (path) => {
  expect(wordsOf(read(path))).toEqual([]);
});

test.each(files.filter((path) => /\.(ts|svelte)$/.test(path)))('the script of %s says nothing itself', (path) => {
  expect(scriptsOf(path).flatMap(stringsOf)).toEqual([]);
});

test('words are found', () => {
  expect(wordsOf('<p title="Look here">x <b>two words</b> {say.more}</p><i class="not this"></i>')).toEqual(['Look here', 'two words']);
  const script = "const a = `mute ${key} now`; throw new RangeError('of no use here'); const b = 'look here', c = 'key', d = `layer ${n}`;";
  expect(stringsOf(script)).toEqual(['mute {} now', 'look here', 'layer {}']);
});

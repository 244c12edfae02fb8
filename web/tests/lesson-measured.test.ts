import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { en } from '../src/en/instruments';
import { EXAMPLES, specialists, type Figures, type Kind } from '../src/lesson/instruments/measured';

const figures = JSON.parse(readFileSync(new URL('../../src/qkvlab/course/figures.json', import.meta.url), 'utf8')) as Figures;
const KINDS: Kind[] = ['position', 'syntax', 'pronouns'];

test('every specialist has its figures, and every relation a name', () => {
  const all = KINDS.flatMap((kind) => specialists(figures, kind));
  expect(all.map(({ name }) => name)).toEqual(Object.keys(EXAMPLES));
  for (const { name, value, low, high, baselines, relation, distance } of all) {
    expect(low).toBeLessThanOrEqual(value);
    expect(high).toBeGreaterThanOrEqual(value);
    expect(baselines.length).toBeGreaterThan(0);
    if (relation === null) expect(en.specialists.jobs[name]).toBeDefined();
    else expect(en.specialists.relations[relation]).toBeDefined();
    expect(distance === null).toBe(!baselines.some((one) => one.name === 'offset'));
  }
});

test('the pronoun head stands beside three baselines', () => {
  const [pronoun] = specialists(figures, 'pronouns');
  expect(pronoun!.baselines.map(({ name }) => name)).toEqual(['chance', 'nearest', 'agreeing']);
});

test('one without its head or its interval is left out', () => {
  const { spec_self_head: _, ...rest } = figures;
  expect(specialists(rest, 'position').map(({ name }) => name)).toEqual(['previous', 'first']);
  expect(specialists({}, 'syntax')).toEqual([]);
});

test('each query stands in its own sentence', () => {
  for (const { text, query } of Object.values(EXAMPLES)) expect(` ${text}`).toContain(query);
});

/** The atlas without a DOM: axes, rankings, places in a text, the address, and where points stand. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readFragment, toFragment } from '../src/atlas/address';
import { at, axesOf, baselinesOf, firstAxes, isAxis, scaleOf, valuesOf } from '../src/atlas/axes';
import { piecesOf, unitsOf } from '../src/atlas/context';
import { rolesOf, type Atlas } from '../src/atlas/data';
import { en } from '../src/en/atlas';
import { figure, tick } from '../src/atlas/format';
import { placeOf, ranked, sorted, telling } from '../src/atlas/ranking';
import { playgroundLink } from '../src/atlas/toplayground';
import { fromLink } from '../src/core/share';
import { headBeside, mix, nearestHead, pointOf, type HeadMap } from '../src/draw/atlas';
import { addressOf, parse } from '../src/route';

const atlas = JSON.parse(readFileSync('tests/atlas.json', 'utf-8')) as Atlas;
const HEADS = 30;

describe('axes', () => {
  it('are the layer, measures that name heads first, and quantities', () => {
    const { roles, measures, sums } = axesOf(atlas);
    expect(roles).toEqual(['coreference', 'repeats:induction', 'syntax:nsubj:head', 'position:previous']);
    expect(measures).toEqual(['syntax:nmod:poss:dependent']);
    const rare = { ...atlas, measures: { ...atlas.measures, 'syntax:dep:head': { ...atlas.measures['coreference']!, n: 29 } } };
    expect(axesOf(rare).few).toEqual(['syntax:dep:head']);
    expect(telling(rare, 8, 9)).not.toContain('syntax:dep:head');
    expect(sums).toEqual(['sum:entropy', 'sum:copying']);
    for (const axis of ['layer', ...roles, ...measures, ...sums]) expect(isAxis(atlas, axis)).toBe(true);
    for (const axis of ['', 'flying', 'sum:flying', 'entropy', 'toString', 'sum:toString']) expect(isAxis(atlas, axis)).toBe(false);
  });

  it('have one number for every head, null where there is none', () => {
    expect(valuesOf(atlas, 'layer')).toEqual(Array.from({ length: HEADS }, (_, head) => Math.floor(head / 6)));
    expect(valuesOf(atlas, 'coreference')).toBe(atlas.measures['coreference']!.value);
    expect(valuesOf(atlas, 'sum:entropy').slice(-6)).toEqual([null, null, null, null, null, null]);
  });

  it('begin with the token before against antecedents, else with the first role over the layers', () => {
    expect(firstAxes(atlas)).toEqual({ x: 'position:previous', y: 'coreference', colour: 'layer', order: 'coreference' });
    const { coreference: _, ...measures } = atlas.measures;
    const other = { ...atlas, measures, roles: atlas.roles.filter(({ role }) => role !== 'coreference').slice(-1) };
    expect(firstAxes(other)).toEqual({ x: 'layer', y: 'repeats:induction', colour: 'repeats:induction', order: 'repeats:induction' });
    expect(firstAxes({ ...atlas, measures: {}, sums: {}, roles: [] }).y).toBe('layer');
  });

  it('end at round numbers that hold every value and every baseline', () => {
    for (const axis of ['layer', ...Object.keys(atlas.measures), 'sum:entropy', 'sum:copying']) {
      const scale = scaleOf(atlas, axis);
      const all = [...valuesOf(atlas, axis), ...baselinesOf(atlas, axis).map(([, { high }]) => high)].filter((value) => value !== null);
      for (const value of all) expect(at(scale, value)).toSatisfy((share: number) => share >= -1e-9 && share <= 1 + 1e-9);
      expect([scale.from, scale.to]).toEqual([scale.ticks[0], scale.ticks.at(-1)]);
      expect(scale.ticks.length).toBeLessThanOrEqual(8);
    }
    expect(scaleOf(atlas, 'coreference')).toEqual({ from: 0, to: 0.8, ticks: [0, 0.2, 0.4, 0.6, 0.8] });
  });
});

describe('the ranking', () => {
  it('has the best on the whole corpus first, and no head without a number', () => {
    const rows = ranked(atlas, 'coreference');
    expect(rows).toHaveLength(24);
    expect(rows[0]).toEqual({
      index: 8, head: '1.2', value: 0.75, low: 0.67, high: 0.83, whole: 0.7125, selection: 0.675, twin: 0.075, control: null,
      ablation: atlas.roles.find(({ role }) => role === 'coreference')!.heads[0]!.ablation, named: true,
    }); // prettier-ignore
    for (let i = 1; i < rows.length; i++) expect(rows[i]!.whole!).toBeLessThanOrEqual(rows[i - 1]!.whole!);
    expect(rows.filter(({ named }) => named).map(({ head }) => head)).toEqual(['1.2']);
    expect(ranked(atlas, 'repeats:induction')[0]!.control).toBe(atlas.measures['repeats:induction']!.control![11]);
  });

  it('ranks a quantity by its mean', () => {
    const rows = ranked(atlas, 'sum:entropy');
    expect(rows[0]!.value).toBe(Math.max(...atlas.sums['entropy']!.mean.map((value) => value ?? -1)));
    expect(rows[0]!.low).toBeNull();
  });

  it('sorts by any column, either way, heads without a number last', () => {
    const rows = ranked(atlas, 'coreference');
    for (const by of ['head', 'value', 'whole', 'selection', 'twin', 'ablation'] as const) {
      for (const up of [true, false]) {
        const again = sorted(rows, { by, up });
        expect(again.map(({ index }) => index).sort((a, b) => a - b)).toEqual(rows.map(({ index }) => index).sort((a, b) => a - b));
        if (by === 'ablation') expect(again[0]!.head).toBe('1.2');
        if (by === 'head') expect(again[0]!.head).toBe(up ? '0.0' : '3.5');
        if (by === 'value') expect(again[up ? 23 : 0]!.head).toBe('1.2');
      }
    }
  });

  it('tells the place of a head, and what tells most about it', () => {
    expect(placeOf(atlas, 'coreference', 8)).toEqual({ place: 1, of: 24 });
    expect(placeOf(atlas, 'coreference', 29)).toBeNull();
    const all = valuesOf(atlas, 'sum:entropy');
    expect(placeOf(atlas, 'sum:entropy', 3)!.place).toBe(1 + all.filter((value) => value !== null && value > all[3]!).length);
    expect(telling(atlas, 8, 3)[0]).toBe('coreference');
    expect(telling(atlas, 8, 3)).toHaveLength(3);
    expect(telling(atlas, 29, 3)).toEqual([]);
  });

  it('names the rarest role first, of an atlas and of a line of the list', () => {
    const listed = [{ role: 'many', heads: ['0.0', '1.2'] }, { role: 'few', heads: ['1.2'] }];
    expect(rolesOf(listed, '1.2')).toEqual(['few', 'many']);
    expect(rolesOf(atlas.roles, '1.2')).toEqual(['coreference']);
  });
});

describe('a place in a text', () => {
  const text = '😀 Anna said that she left';
  const example = { measure: 'coreference', side: 'worst' as const, weight: 0.1, text: 0, query: [17, 20] as [number, number], right: [2, 6] as [number, number], looked: [7, 11] as [number, number], document: 'd' };

  it('is cut at its marks, in code points', () => {
    const pieces = piecesOf(text, example);
    expect(pieces.map((piece) => piece.text).join('')).toBe(text);
    expect(pieces.filter(({ query }) => query).map((piece) => piece.text)).toEqual(['she']);
    expect(pieces.filter(({ right }) => right).map((piece) => piece.text)).toEqual(['Anna']);
    expect(pieces.filter(({ looked }) => looked).map((piece) => piece.text)).toEqual(['said']);
    expect(text.slice(...unitsOf(text, [2, 6]))).toBe('Anna');
  });

  it('keeps every character whatever the marks are', () => {
    const span = fc.tuple(fc.nat(12), fc.nat(12)).map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 10 }), span, fc.option(span), span, (words, query, right, looked) => {
        expect(piecesOf(words, { query, right, looked }).map((piece) => piece.text).join('')).toBe(words);
      }),
    );
  });

  it('opens in the playground with this text, head, query and key', async () => {
    const chosen = await fromLink(await playgroundLink('smollm2', '1.2', text, example));
    expect([chosen.model, chosen.text, chosen.head]).toEqual(['smollm2', text, '1.2']);
    expect(chosen.query).toMatchObject({ text: 'she' });
    expect(chosen.key).toMatchObject({ text: 'Anna' });
    const sample = await fromLink(await playgroundLink('smollm2', '1.2', text, { ...example, right: null }));
    expect(sample.key).toMatchObject({ text: 'said' });
    expect((await fromLink(await playgroundLink('smollm2', '1.2', text))).query).toBeNull();
  });
});

describe('the address', () => {
  it('holds what is chosen', () => {
    const chosen = { atlas: 'a1', head: '1.2', role: 'syntax:nsubj:head', x: 'layer', y: 'sum:entropy', colour: 'layer', order: 'coreference' };
    expect(readFragment(`#${toFragment(chosen)}`)).toEqual(chosen);
    expect(toFragment({ ...chosen, role: null, atlas: null })).toBe('head=1.2&x=layer&y=sum:entropy&colour=layer&order=coreference');
    expect(readFragment('')).toEqual({ atlas: null, head: null, role: null, x: null, y: null, colour: null, order: null });
    expect(readFragment(`#head=${'9'.repeat(201)}`).head).toBeNull();
  });

  it('is one of the pages', () => {
    const root = new URL('http://here/');
    expect(parse(new URL('http://here/atlas#head=1.2'), root)).toEqual({ page: 'atlas' });
    for (const flat of [true, false]) expect(parse(new URL(addressOf({ page: 'atlas' }, root, flat)), root)).toEqual({ page: 'atlas' });
  });
});

describe('points', () => {
  const axis = (values: (number | null)[]) => ({ values, scale: { from: 0, to: 1, ticks: [0, 1] }, name: '', print: String, baselines: [] });
  const map: HeadMap = { x: axis([0, 1, 0, null]), y: axis([0, 0, 1, 0.5]), shades: [], marked: new Set(), named: new Set(), labelled: [], chosen: null, hovered: null };

  it('stand where their numbers are, and heads without one nowhere', () => {
    const [origin, right, up] = [0, 1, 2].map((head) => pointOf(map, head, 500, 400)!) as [{ x: number; y: number }, { x: number; y: number }, { x: number; y: number }];
    expect([right.x > origin.x, right.y === origin.y, up.y < origin.y, up.x === origin.x]).toEqual([true, true, true, true]);
    expect(pointOf(map, 3, 500, 400)).toBeNull();
  });

  it('are found by the pointer and walked by arrows', () => {
    const { x, y } = pointOf(map, 1, 500, 400)!;
    expect(nearestHead(map, x + 3, y - 3, 500, 400)).toBe(1);
    expect(nearestHead(map, x - 100, y, 500, 400)).toBeNull();
    expect(headBeside(map, 0, [1, 0], 500, 400)).toBe(1);
    expect(headBeside(map, 0, [0, -1], 500, 400)).toBe(2);
    expect(headBeside(map, 0, [-1, 0], 500, 400)).toBeNull();
    expect(headBeside(map, null, [1, 0], 500, 400)).toBe(0);
  });

  it('are shaded between two colours', () => {
    expect(mix('#000000', '#ff8040', 0)).toBe('rgb(0 0 0)');
    expect(mix('#000000', '#ff8040', 1)).toBe('rgb(255 128 64)');
    expect(mix('#000000', '#ff8040', 0.5)).toBe('rgb(128 64 32)');
  });
});

describe('words', () => {
  it('say what a measure asks', () => {
    const said: Record<string, string> = {
      layer: 'layer',
      'syntax:nsubj:head': 'finds a word’s subject',
      'syntax:nsubj:dependent': 'finds what the subject belongs to',
      'syntax:nmod:poss:dependent:forward': 'finds a word’s possessor, looking ahead',
      'clark:obj:normal': 'object to word (Clark)',
      'sum:entropy': 'entropy of the weights',
      'sum:other': 'other',
      flying: 'flying',
    };
    for (const [axis, words] of Object.entries(said)) expect(en.axis(axis)).toBe(words);
    expect(en.baseline('offset', -2)).toBe('best fixed distance (−2)');
    expect(en.baseline('nearest')).toBe('nearest candidate');
  });

  it('print numbers as they are', () => {
    expect([figure('coreference', 0.60449), figure('layer', 3), figure('sum:entropy', 2.3456), figure('coreference', null)]).toEqual(['0.604', '3', '2.35', '–']);
    expect([tick(0.2), tick(24000)]).toEqual(['0.2', '24k']);
  });
});

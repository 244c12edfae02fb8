import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromRange } from '../src/core/anchors';
import { followEdit } from '../src/core/edits';
import { fromLink, LinkError, toLink, type Chosen } from '../src/core/share';

const text = 'In Italy 😀 they speak';
const chosen: Chosen = {
  model: 'smollm2',
  text,
  special: true,
  head: '23.4',
  pinned: '13.8',
  query: fromRange(text, 16, 22),
  key: 0,
  edits: [
    { id: 1, on: true, edit: { kind: 'mute', where: '23.4', key: fromRange(text, 2, 8, true), query: null, strength: 0.5 } },
    { id: 2, on: false, edit: { kind: 'shift-query', head: '23.4', query: fromRange(text, 16, 22, true), shift: [0.1, -3], strength: 1 } },
    { id: 3, on: true, edit: { kind: 'ablate', where: 'all', to: [1, 2], strength: 1 } },
  ],
  tracked: [' Italian', 17],
  atEnd: false,
};
const packed = (json: string) => `1.${deflateRawSync(json).toString('base64url')}`;

describe('a link', () => {
  test('gives back what was chosen', async () => {
    const link = await toLink(chosen);
    expect(link).toMatch(/^1\.[\w-]+$/);
    expect(await fromLink(`#${link}`)).toEqual(chosen);
  });

  test('holds any text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 200 }), async (any) => {
        const state = { ...chosen, text: any, query: null, edits: [] };
        expect(await fromLink(await toLink(state))).toEqual(state);
      }),
      { numRuns: 30 },
    );
  });

  test('leaves edits behind that wait for a token', async () => {
    const [mute, ...others] = chosen.edits;
    const gone = 'In 😀 they speak';
    const edits = [mute!, ...others].map((item) => followEdit(item, text, gone));
    const back = await fromLink(await toLink({ ...chosen, text: gone, query: null, edits }));
    expect(back.edits.map(({ edit }) => edit.kind)).toEqual(['shift-query', 'ablate']);
  });

  test('has a longest length', async () => {
    let state = 1;
    const noise = Array.from({ length: 400_000 }, () => String.fromCharCode(33 + ((state = (state * 48271) % 2147483647) % 90)));
    await expect(toLink({ ...chosen, text: noise.join(''), query: null, edits: [] })).rejects.toThrow(/Export a file/);
  });
});

describe('a hostile or damaged link ends in a LinkError', () => {
  const good = JSON.parse(JSON.stringify({ ...chosen, query: null, key: null, edits: [] }));
  const state = (changes: object) => packed(JSON.stringify({ ...good, ...changes }));
  const edit = (values: object) => state({ edits: [{ on: true, edit: values }] });

  test.each([
    ['empty', '', /not one of this version/],
    ['another version', '2.abc', /not one of this version/],
    ['strange characters', '1.<script>', /belong to no link/],
    ['impossible base64', '1.a', /damaged/],
    ['no deflate', '1.AAAA', /damaged/],
    ['cut', packed(JSON.stringify(good)).slice(0, -9), /damaged/],
    ['too long', `1.${'A'.repeat(300_000)}`, /characters, over/],
    ['a bomb', packed('0'.repeat(50_000_000)), /larger than 4 MiB/],
    ['no JSON', packed('{'), /damaged/],
    ['no object', packed('[1]'), /no valid model: nothing/],
    ['a model that is no text', state({ model: { toString: 'x' } }), /no valid model/],
    ['a head that is none', state({ head: '13.8<b>' }), /no valid head: "13\.8<b>"/],
    ['three tracked answers', state({ tracked: [1, 2, 3] }), /no valid tracked/],
    ['edits that are no list', state({ edits: 'mute' }), /at most 64 edits/],
    ['too many edits', state({ edits: Array(65).fill({}) }), /at most 64 edits/],
    ['an edit without a switch', state({ edits: [{ edit: { kind: 'tie', where: 'all', strength: 1 } }] }), /malformed/],
    ['an unknown edit', edit({ kind: 'constructor' }), /has an edit "constructor"/],
    ['a scope that is none', edit({ kind: 'tie', where: '../..', strength: 1 }), /tie in the link has no valid where/],
    ['a strength above 1', edit({ kind: 'tie', where: 'all', strength: 2 }), /no valid strength: 2/],
    ['a token that is none', edit({ kind: 'mute', where: 'all', key: [5, 2], query: null, strength: 1 }), /no valid key/],
    ['a shift with text', edit({ kind: 'shift-query', head: '1.2', query: 1, shift: ['1'], strength: 1 }), /no valid shift/],
    ['a number that is infinite', packed(JSON.stringify(good).replace('"special":true', '"special":1e999')), /no valid special/],
  ])('%s', async (_, link, message) => {
    await expect(fromLink(link)).rejects.toThrow(LinkError);
    await expect(fromLink(link)).rejects.toThrow(message);
  });

  test('any fragment at all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json().map(packed)), async (fragment) => {
        await expect(fromLink(fragment)).rejects.toThrow(LinkError);
      }),
    );
  });
});

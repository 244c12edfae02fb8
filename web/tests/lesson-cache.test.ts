import { expect, test } from 'vitest';
import { complaint, PRESETS, presetOf, reaches, sizes } from '../src/lesson/instruments/cachesize';

const named = (name: string) => PRESETS.find((preset) => preset.name === name)!;

test.each([
  // What the published shapes come to, counted by hand: 2 · layers · K/V heads · d_head · bytes.
  ['SmolLM2-135M', 23_040],
  ['Llama-2-7B', 524_288],
  ['Llama-3-8B', 131_072],
  ['Llama-3-70B', 327_680],
])('a token of %s takes %i bytes', (name, bytes) => {
  expect(sizes(named(name)).find(({ arrangement }) => arrangement === 'asIs')!.token).toBe(bytes);
});

test('three arrangements, the largest first, as shares of one K/V head for each query head', () => {
  const rows = sizes(named('Llama-3-8B'));
  expect(rows.map(({ kv_heads }) => kv_heads)).toEqual([32, 8, 1]);
  expect(rows.map(({ share }) => share)).toEqual([1, 1 / 4, 1 / 32]);
  expect(rows.map(({ context }) => context / 2 ** 20)).toEqual([4096, 1024, 128]);
});

test('heads that do not divide, and nothing at all, are refused', () => {
  const llama = named('Llama-3-8B');
  expect(complaint(llama)).toBeNull();
  expect(complaint({ ...llama, kv_heads: 5 })).toBe('uneven');
  expect(complaint({ ...llama, kv_heads: 64 })).toBe('uneven');
  expect(complaint({ ...llama, layers: 0 })).toBe('unfit');
  expect(complaint({ ...llama, context: NaN })).toBe('unfit');
});

test('settings are a preset only where every number is', () => {
  expect(presetOf(named('Llama-2-7B'))).toBe('Llama-2-7B');
  expect(presetOf({ ...named('Llama-2-7B'), kv_heads: 8 })).toBeNull();
});

test('a goal is reached by the K/V heads alone', () => {
  const first = { ...named('Llama-3-8B'), kv_heads: 32 };
  const goal = 256 * 2 ** 20;
  expect([32, 4, 2, 1].map((kv_heads) => reaches(goal, { ...first, kv_heads }, first))).toEqual([false, false, true, true]);
  expect(reaches(goal, { ...first, kv_heads: 3 }, first)).toBe(false);
  expect(reaches(goal, { ...first, kv_heads: 2, context: 4096 }, first)).toBe(false);
  expect(reaches(goal, { ...first, layers: 2 }, first)).toBe(false);
});

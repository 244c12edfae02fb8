import { describe, expect, it } from 'vitest';
import { addressOf, indexOf, kvAddress, readAddress } from '../src/core/address';
import { ablationEffects, reach, sinkCount, startHere } from '../src/core/ranking';

const COUNTS = { n_layer: 30, n_head: 9, n_kv_head: 3 };

describe('addresses', () => {
  it.each(['13.8', ' 13.8 ', '13,8', 'L13H8', 'l13 h8', '13 8', '13:8'])('understands %j', (typed) => {
    expect(readAddress(typed, COUNTS)).toBe('13.8');
  });

  it.each(['', '13', '30.0', '13.9', 'x13.8', '13.8.1', '-1.2'])('knows no head %j', (typed) => {
    expect(readAddress(typed, COUNTS)).toBeNull();
  });

  it('goes to an index and back', () => {
    expect(indexOf('13.8', 9)).toBe(125);
    expect(addressOf(125, 9)).toBe('13.8');
  });

  it('names the K/V head of a group of three', () => {
    expect(['23.2', '23.3', '23.5', '23.6'].map((head) => kvAddress(head, COUNTS))).toEqual(['23.0', '23.1', '23.1', '23.2']);
  });
});

describe('ranking', () => {
  it('starts with one head of a layer and two of a token at most', () => {
    const weights = Float32Array.of(0.9, 0.8, 0.7, 0.1, 0.6, 0.2, 0.5, 0.3, 0.4, 0.35);
    const keys = [4, 2, 4, 2, 4, 7, 4, -1, 7, 4];
    // Layers of two: 0.9 takes layer 0; 0.7 is the second on token 4; in layers 2 to 4 token 7 is left.
    expect(startHere(weights, keys, 2, 4)).toEqual([0, 2, 5, 8]);
  });

  it('counts the heads on the first token', () => {
    expect(sinkCount([0, 3, 0, 1, 0])).toBe(3);
  });

  it('knows ablations only once they have come', () => {
    const effects = ablationEffects(new Map([['1.2', { effect: -0.5 }]]), 2, 3);
    expect(Array.from(effects)).toEqual([NaN, NaN, NaN, NaN, NaN, -0.5]);
    expect(reach(effects)).toBe(0.5);
  });
});

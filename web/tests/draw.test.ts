import { describe, expect, it } from 'vitest';
import { columnsOf } from '../src/core/bench';
import { dotAt, nearestDot, type Scatter } from '../src/draw/scatter';
import { cellOf, gridOf, headAt } from '../src/draw/stamps';
import { componentAt, type Grid } from '../src/draw/strips';

describe('the grid of heads', () => {
  it('finds each head in its own cell, groups apart', () => {
    const grid = gridOf(30, 9, 3, 204, 510);
    expect(grid.pitch).toBe(17);
    for (let head = 0; head < 270; head++) {
      const { x, y, width, height } = cellOf(grid, head);
      expect(headAt(grid, x + width / 2, y + height / 2)).toBe(head);
      expect(headAt(grid, x + width - 0.5, y + height - 0.5)).toBe(head);
    }
    const gap = grid.columns[3]! - grid.columns[2]!;
    expect(gap).toBeGreaterThan(grid.wide);
    expect(headAt(grid, grid.columns[3]! - 1, 5)).toBeNull();
    expect(headAt(grid, 2, 5)).toBeNull();
    expect(headAt(grid, grid.columns[0]!, 30 * 17 + 1)).toBeNull();
  });

  it('in a low window has cells that are wider than high, up to twice', () => {
    const low = gridOf(30, 9, 3, 204, 300);
    expect([low.pitch, low.wide]).toEqual([10, 19]);
    expect(low.width).toBeLessThanOrEqual(204);
    expect(gridOf(30, 9, 3, 204, 220).wide).toBe(14);
  });

  it('shrinks its cells for a large model and scrolls from there', () => {
    const grid = gridOf(80, 64, 8, 204, 510);
    expect(grid.pitch).toBe(5);
    expect(grid.height).toBe(403);
    expect(grid.width).toBeGreaterThan(204);
  });

  it('keeps one column of heads per K/V head together where none are shared', () => {
    const { columns, wide } = gridOf(6, 12, 12, 204, 510);
    expect(columns.slice(1).every((x, i) => x - columns[i]! === wide)).toBe(true);
  });
});

it('the scatter finds the dot under the pointer', () => {
  const scatter: Scatter = {
    weights: [0.1, 0.9, 0.5],
    effects: [0, -2, NaN],
    end: 2,
    named: [],
    before: null,
    open: 0,
    hovered: null,
    axes: { across: '', up: '' },
  };
  const dot = dotAt(scatter, 1, 204, 150);
  expect(nearestDot(scatter, dot.x + 3, dot.y - 3, 204, 150)).toBe(1);
  expect(nearestDot(scatter, dot.x + 30, dot.y - 30, 204, 150)).toBeNull();
});

describe('the strips of the bench', () => {
  const columns = columnsOf(816);
  const scene = { columns, head: 34, row: 29, order: [3, 1, 2, 0] } as unknown as Grid;

  it('name the component under the pointer in the order drawn; values are never re-ordered', () => {
    expect(componentAt(scene, columns.key.x + 8, 34 + 29 + 3)).toEqual({ column: 'key', line: 1, component: 3 });
    expect(componentAt(scene, columns.value.x + 8, 34 + 2)).toEqual({ column: 'value', line: 0, component: 0 });
  });

  it('have nothing beside them', () => {
    expect(componentAt(scene, columns.score.x + 8, 60)).toBeNull();
    expect(componentAt(scene, columns.key.x + 8, 10)).toBeNull();
  });
});

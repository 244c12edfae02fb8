import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Course } from '../../src/course/course.svelte';
import { place, walk, type CourseMap } from '../../src/course/map';
import { readProgress, type Keeper } from '../../src/course/progress';
import { addressOf, parse, sameRoute } from '../../src/route';

const { modules } = JSON.parse(readFileSync(new URL('map.json', import.meta.url), 'utf8')) as CourseMap;

function shelf(kept: Record<string, string> = {}): Keeper & { kept: Record<string, string> } {
  return {
    kept,
    getItem: (key) => kept[key] ?? null,
    setItem: (key, value) => void (kept[key] = value),
    removeItem: (key) => void delete kept[key],
  };
}

describe('addresses', () => {
  for (const base of ['http://127.0.0.1:7400/', 'https://host.example/some/folder/']) {
    const root = new URL(base);
    const at = (address: string) => parse(new URL(address, root), root);

    test(`name pages under ${base}`, () => {
      expect(['', 'course', 'course/', 'index.html'].map(at)).toEqual(Array(4).fill({ page: 'course' }));
      expect(['lesson/22', 'lesson/22/', '?lesson=22', 'index.html?lesson=22#blend'].map(at)).toEqual(Array(4).fill({ page: 'lesson', module: '22' }));
      expect(['playground', '?playground', 'playground#1.abc'].map(at)).toEqual(Array(3).fill({ page: 'playground' }));
      expect(['assets/x.js', 'lesson/', 'lesson/../../etc', 'lesson/2/2', 'course/art/hero.svg'].map(at)).toEqual(Array(5).fill(null));
    });

    test(`a playground's link at the root of ${base} opens the playground, another fragment does not`, () => {
      expect(at('#1.abc')).toEqual({ page: 'playground' });
      expect(at('#modules')).toEqual({ page: 'course' });
    });

    test(`go there and back under ${base}, with a server and as files`, () => {
      for (const route of [{ page: 'course' }, { page: 'playground' }, { page: 'lesson', module: '12a' }] as const)
        for (const flat of [true, false]) {
          const back = at(addressOf(route, root, flat));
          expect(back && sameRoute(back, route), addressOf(route, root, flat)).toBe(true);
        }
      expect(new URL(addressOf({ page: 'lesson', module: '22' }, root, true)).pathname).toBe(root.pathname);
    });
  }

  test('elsewhere is not ours', () => {
    const root = new URL('http://127.0.0.1:7400/lab/');
    expect(parse(new URL('http://127.0.0.1:7400/'), root)).toBeNull();
    expect(parse(new URL('http://localhost:7400/lab/'), root)).toBeNull();
  });
});

describe('the map', () => {
  test('puts every module behind all it needs', () => {
    const placed = place(modules);
    const column = Object.fromEntries(placed.map((module) => [module.module, module.column]));
    for (const { module, needs } of placed) for (const need of needs) expect(column[need]).toBeLessThan(column[module]!);
    const cells = placed.map(({ column, row }) => `${column},${row}`);
    expect(new Set(cells).size).toBe(cells.length);
    expect(walk(placed).map(({ module }) => module)).toEqual(['11', '12', '12a', '22', '13']);
  });

  test('a circle of needs is drawn all the same', () => {
    const circle = [{ module: 'a', title: '', needs: ['b'], here: true }, { module: 'b', title: '', needs: ['a'], here: true }];
    expect(place(circle)).toHaveLength(2);
  });
});

describe('progress', () => {
  test('survives, is taken back, and leaves nothing behind after a reset', () => {
    const keeper = shelf();
    const course = new Course(() => keeper);
    course.opened('22');
    course.mark('22', true);
    course.mark('12', true);
    course.mark('12', false);
    const again = new Course(() => keeper);
    expect([again.progress, again.blocked]).toEqual([{ done: ['22'], last: '22' }, false]);
    again.reset();
    expect(keeper.kept).toEqual({});
    expect(again.isDone('22')).toBe(false);
  });

  test('works while storage is blocked, and says so', () => {
    const course = new Course(() => {
      throw new DOMException('denied', 'SecurityError');
    });
    expect(course.blocked).toBe(true);
    course.mark('22', true);
    expect([course.isDone('22'), course.blocked]).toEqual([true, true]);
  });

  test('a full storage is found out when it is written', () => {
    const full = { ...shelf(), setItem: () => { throw new DOMException('full', 'QuotaExceededError'); } };
    const course = new Course(() => full);
    expect(course.blocked).toBe(false);
    course.mark('22', true);
    expect([course.isDone('22'), course.blocked]).toEqual([true, true]);
  });

  test('what is not ours counts as none', () => {
    for (const text of ['no json', 'null', '[]', '{"done":"22"}', '{"done":[22],"last":4}'])
      expect(readProgress(() => shelf({ 'qkvlab.course': text })), text).toEqual({ done: [], last: null });
  });

  test('the lesson tab leads to the lesson opened last, else to the featured one', () => {
    const course = new Course(() => shelf());
    course.map = { modules };
    expect([course.featured?.module, course.next]).toEqual(['22', '22']);
    course.opened('12');
    expect(course.next).toBe('12');
    course.opened('99');
    expect(course.next).toBe('22');
  });
});

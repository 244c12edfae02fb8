import { expect, test } from 'vitest';
import { escaped, paintOf, tag } from '../src/snapshot/markup';

test('a tag has its attributes escaped, numbers short, absent ones left out', () => {
  expect(tag('text', { x: 1 / 3, 'font-family': '"DejaVu Sans"', rx: null }, 'a')).toBe(
    '<text x="0.33" font-family="&quot;DejaVu Sans&quot;">a</text>',
  );
  expect(tag('rect', { x: 1.999 })).toBe('<rect x="2"/>');
});

test('text that XML could not hold is made to fit', () => {
  expect(escaped('<b>&\u0000"\ud800🙂')).toBe('&lt;b&gt;&amp;&quot;🙂');
});

test.each([
  ['rgb(27, 29, 34)', { color: '#1b1d22', opacity: 1 }],
  ['rgba(27, 29, 34, 0.08)', { color: '#1b1d22', opacity: 0.08 }],
  ['rgb(0 0 0 / 35%)', { color: '#000000', opacity: 0.35 }],
  ['color(srgb 0.105882 0.113725 0.133333 / 0.2)', { color: '#1b1d22', opacity: 0.2 }],
  ['rgba(0, 0, 0, 0)', null],
  ['transparent', null],
])('%s', (css, paint) => expect(paintOf(css)).toEqual(paint));

import { expect, test } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatSeconds,
  formatValue,
  renderTable,
} from '../../compiler/cli/format.js';
import { Progress } from '../../compiler/cli/progress.js';

/** Five updates a second apart, of which each is a tenth of the work. */
function recorded(isTTY: boolean, updates: number): string {
  let text = '';
  let time = 0;
  const sink = { isTTY, columns: 40, write: (part: string) => (text += part) };
  const progress = new Progress(sink, () => time);
  for (let done = 0; done < updates; done++) {
    progress.update('weights', done, 10);
    time += 1000;
  }
  progress.end();
  return text;
}

test('on a terminal, one line is drawn over itself and removed at the end', () => {
  const lines = recorded(true, 4).split('\r\u001b[2K');
  expect(lines).toEqual([
    '',
    'weights: 10 % (1 of 10), 9.0 s left',
    'weights: 20 % (2 of 10), 8.0 s left',
    'weights: 30 % (3 of 10), 7.0 s left',
    '',
  ]);
});

test('elsewhere, a line every five seconds, and none for short work', () => {
  expect(recorded(false, 5)).toBe('');
  expect(recorded(false, 8)).toBe('weights: 50 % (5 of 10), 5.0 s left\n');
});

test('numbers for people', () => {
  expect([0, 1023, 1024, 3.5 * 2 ** 20, 2 ** 40].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '3.5 MiB',
    '1.0 TiB',
  ]);
  expect([0, 999, 1000, 1_707_136, 2.5e9].map(formatCount)).toEqual([
    '0',
    '999',
    '1.00 k',
    '1.71 M',
    '2.50 G',
  ]);
  expect([0.04, 9.96, 14.4, 119.7, 200].map(formatSeconds)).toEqual([
    '0.0 s',
    '10.0 s',
    '14 s',
    '2 min 0 s',
    '3 min 20 s',
  ]);
  expect([0, 48, 0.002, 2.5678e-5, 0.123456].map(formatValue)).toEqual([
    '0',
    '48',
    '0.002',
    '2.57e-5',
    '0.1235',
  ]);
});

test('tables align their columns', () => {
  const columns = [{ title: 'name' }, { title: 'n', align: 'right' as const }];
  expect(
    renderTable(columns, [
      ['a', 1],
      ['long', 234],
    ]),
  ).toBe('name    n\na       1\nlong  234\n');
});

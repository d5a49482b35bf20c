/** What is drawn of numbers. */
import { expect, test } from '@playwright/test';
import { line } from '../../src/lib/chart';
import { bytes } from '../../src/lib/format';

test('a line reaches from edge to edge, and from the ground to the top', () => {
  expect(line([0, 5, 10])).toBe('M0 100L50 50L100 0');
  expect(line([0, 0])).toBe('M0 100L100 100');
  expect(line([7])).toBe('M0 0');
  expect(line([])).toBe('');
});

test('sizes have the unit that fits', () => {
  expect([1, 1023, 1024, 1536, 5 * 1024 ** 2, 3 * 1024 ** 3, 2048 * 1024 ** 4].map(bytes)).toEqual([
    '1 byte',
    '1,023 bytes',
    '1 KiB',
    '1.5 KiB',
    '5 MiB',
    '3 GiB',
    '2,048 TiB',
  ]);
});

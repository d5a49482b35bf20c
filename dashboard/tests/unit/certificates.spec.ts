/** What a certificate's state is told as. */
import { expect, test } from '@playwright/test';
import type { CertificateView } from '../../src/lib/api/schema';
import { isUnderWay, tell } from '../../src/lib/certificates';

const NOW = Date.parse('2026-06-01T12:00:00Z');
const days = (count: number) => new Date(NOW + count * 86_400_000).toISOString();

function certificate(change: Partial<CertificateView>): CertificateView {
  const blank = { id: 'x', source: 'automatic', names: ['a.example.com'], failures: 0 };
  return { ...blank, state: 'valid', created_at: days(-99), updated_at: days(-99), ...change };
}

const served = { not_before: days(-30), not_after: days(60) };

test('each state has its word, its tone and its reason', () => {
  const table: [Partial<CertificateView>, string, string, string | null][] = [
    [{ state: 'valid', ...served }, 'Valid', 'good', null],
    [{ state: 'renewing', ...served }, 'Valid', 'good', 'Its successor is being obtained.'],
    [{ state: 'failing', ...served, last_error: 'no answer' }, 'Renewal failing', 'warn', 'no answer'],
    [{ state: 'failing', last_error: 'no record' }, 'Not issued', 'bad', 'no record'],
    [{ state: 'ordering' }, 'Ordering', '', 'An authority is checking that the name leads here.'],
    [{ state: 'claimed' }, 'Waiting', '', 'It starts in a moment.'],
    [{ state: 'valid', not_before: days(-84), not_after: days(6) }, 'Expires soon', 'warn', null],
    // Of six days, those that are left are the usual ones until the last third.
    [{ state: 'valid', not_before: days(-1), not_after: days(5) }, 'Valid', 'good', null],
    [{ state: 'valid', not_before: days(-5), not_after: days(1) }, 'Expires soon', 'warn', null],
    [{ state: 'valid', not_before: days(-90), not_after: days(-1) }, 'Expired', 'bad', null],
    [{ state: 'failing', not_after: days(-1), last_error: 'late' }, 'Not issued', 'bad', 'late'],
  ];
  for (const [change, name, tone, detail] of table) {
    expect(tell(certificate(change), NOW), JSON.stringify(change)).toEqual({ name, tone, detail });
  }
});

test('what is due is under way, and what waits is not', () => {
  expect(isUnderWay(certificate({ state: 'ordering' }), NOW)).toBe(true);
  expect(isUnderWay(certificate({ state: 'failing', next_attempt_at: days(0) }), NOW)).toBe(true);
  expect(isUnderWay(certificate({ state: 'failing', next_attempt_at: days(1) }), NOW)).toBe(false);
  expect(isUnderWay(certificate({ ...served }), NOW)).toBe(false);
});

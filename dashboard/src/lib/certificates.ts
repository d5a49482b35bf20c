/** What a certificate's state comes to, in words for people. */
import type { CertificateView } from '$lib/api/schema';

const DAY_MS = 86_400_000;

/** One that ends sooner than that has not been renewed as it should have been. */
const SOON_MS = 7 * DAY_MS;

export interface Told {
  name: string;
  tone: 'good' | 'warn' | 'bad' | '';
  /** What goes on, where the name alone does not tell. */
  detail: string | null;
}

const time = (iso: string | null | undefined) => (iso == null ? null : Date.parse(iso));

/** Whether there is one to serve. */
export function isServed(certificate: CertificateView, now: number): boolean {
  return (time(certificate.not_after) ?? 0) > now;
}

/** Whether it ends within a week, or in the last third of a shorter life. */
function endsSoon({ not_before, not_after }: CertificateView, now: number): boolean {
  const [begin, end] = [time(not_before) ?? 0, time(not_after) ?? 0];
  return end - now < Math.min(SOON_MS, (end - begin) / 3);
}

const UNDER_WAY: Record<string, { name: string; detail: string }> = {
  claimed: { name: 'Waiting', detail: 'It starts in a moment.' },
  preflight: { name: 'Checking', detail: 'PiCloud checks what an authority would find.' },
  ordering: { name: 'Ordering', detail: 'An authority is checking that the name leads here.' },
  renewing: { name: 'Renewing', detail: 'Its successor is being ordered.' },
};

/** Whether it changes within moments, by itself. */
export function isUnderWay(certificate: CertificateView, now: number): boolean {
  return certificate.state in UNDER_WAY || (time(certificate.next_attempt_at) ?? Infinity) <= now;
}

export function tell(certificate: CertificateView, now: number): Told {
  const { state, last_error, not_after } = certificate;
  const isFailing = state === 'failing';
  if (isServed(certificate, now)) {
    if (isFailing) return { name: 'Renewal failing', tone: 'warn', detail: last_error ?? null };
    const detail = state === 'valid' ? null : 'Its successor is being obtained.';
    return endsSoon(certificate, now)
      ? { name: 'Expires soon', tone: 'warn', detail }
      : { name: 'Valid', tone: 'good', detail };
  }
  if (isFailing) return { name: 'Not issued', tone: 'bad', detail: last_error ?? null };
  const underWay = UNDER_WAY[state];
  if (underWay) return { ...underWay, tone: '' };
  return not_after == null
    ? { name: 'None', tone: '', detail: null }
    : { name: 'Expired', tone: 'bad', detail: null };
}

export const SOURCES: Record<string, { name: string; what: string }> = {
  automatic: { name: 'automatic', what: 'from a public authority, renewed by itself' },
  internal: { name: 'internal', what: 'from this instance’s own authority, whose root devices must trust' },
  manual: { name: 'uploaded', what: 'by an owner, who renews it' },
};

/** How an authority was shown that the name leads here. */
export const CHALLENGES: Record<string, string> = {
  'http-01': 'HTTP-01, on port 80',
  'tls-alpn-01': 'TLS-ALPN-01, on port 443',
  'dns-01': 'DNS-01, a DNS record',
};

export const CHECKS: Record<string, string> = {
  name: 'Name',
  resolution: 'DNS',
  caa: 'CAA',
  http: 'Port 80',
  https: 'Port 443',
  dns: 'DNS record',
};

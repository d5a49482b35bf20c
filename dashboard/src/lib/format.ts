/** Dates, durations, numbers and plurals as people read them, all by `Intl`. */

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const integer = new Intl.NumberFormat();
const plurals = new Intl.PluralRules('en');

/** From which distance on a time is told in which unit. */
const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 365 * 86_400_000],
  ['month', 30 * 86_400_000],
  ['week', 7 * 86_400_000],
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
];

/** "3 minutes ago", "in 2 days", "now". */
export function relativeTime(iso: string, now: number): string {
  const distance = Date.parse(iso) - now;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(distance) >= size) ?? ['second', 1000];
  // The clocks of server and browser differ a little: the last seconds are all "now".
  if (unit === 'second' && Math.abs(distance) < 10_000) return relative.format(0, 'second');
  return relative.format(Math.trunc(distance / size), unit);
}

export function absoluteTime(iso: string): string {
  return absolute.format(new Date(iso));
}

/** When a point of a chart begins, as exactly as its length asks for. */
export function moment(iso: string, resolution: 'minute' | 'hour' | 'day'): string {
  return (resolution === 'day' ? day : clock).format(new Date(iso));
}

/** "840 µs", "12.4 ms", "1.2 s". */
export function duration(microseconds: number): string {
  const unit = (value: number, unit: string, digits: number) =>
    `${new Intl.NumberFormat(undefined, { maximumFractionDigits: digits }).format(value)}\u00a0${unit}`;
  if (microseconds < 1000) return unit(microseconds, 'µs', 0);
  if (microseconds < 1_000_000) return unit(microseconds / 1000, 'ms', 1);
  return unit(microseconds / 1_000_000, 's', 2);
}

export function number(value: number): string {
  return integer.format(value);
}

/** "1 script", "12 scripts". */
export function count(value: number, one: string, many = `${one}s`): string {
  return `${integer.format(value)} ${plurals.select(value) === 'one' ? one : many}`;
}

const SIZES = ['KiB', 'MiB', 'GiB', 'TiB'];

/** "4 KiB": sizes of what was sent or is stored. */
export function bytes(value: number): string {
  if (value < 1024) return count(value, 'byte');
  const power = Math.min(Math.floor(Math.log2(value) / 10), SIZES.length);
  const size = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(value / 1024 ** power);
  return `${size} ${SIZES[power - 1]}`;
}

/** A text of the API as a sentence: it begins in lower case, for it may follow a field's name. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Dates, durations, numbers and plurals as people read them, all by `Intl`. */

/** In the page's own language, by the customs of where its reader is: "vor 3 Minuten" would stand within English sentences. */
export function localeOf(preferred: string): string {
  const { region } = new Intl.Locale(preferred).maximize();
  return region ? `en-${region}` : 'en';
}

const locale = localeOf(new Intl.NumberFormat().resolvedOptions().locale);
const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
const absolute = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat(locale, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
const time = new Intl.DateTimeFormat(locale, { timeStyle: 'medium' });
const day = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' });
const integer = new Intl.NumberFormat(locale);
const approximate = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 });
const share = new Intl.NumberFormat(locale, { style: 'percent' });
const conjunction = new Intl.ListFormat('en');
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

/** The time of the day, where the day is told beside it. */
export function timeOfDay(iso: string): string {
  return time.format(new Date(iso));
}

/** When a point of a chart begins, as exactly as its length asks for. */
export function moment(iso: string, resolution: 'minute' | 'hour' | 'day'): string {
  return (resolution === 'day' ? day : clock).format(new Date(iso));
}

/** "840 µs", "12.4 ms", "1.2 s". */
export function duration(microseconds: number): string {
  const unit = (value: number, unit: string, digits: number) =>
    `${new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value)}\u00a0${unit}`;
  if (microseconds < 1000) return unit(microseconds, 'µs', 0);
  if (microseconds < 1_000_000) return unit(microseconds / 1000, 'ms', 1);
  return unit(microseconds / 1_000_000, 's', 2);
}

/** "85%"; what is not the whole is not told as 100%. */
export function percent(part: number): string {
  return share.format(Math.floor(part * 100) / 100);
}

export function number(value: number): string {
  return integer.format(value);
}

/** "0.25", "12.4", "1,230": how often a second something is done. */
export function rate(value: number): string {
  return approximate.format(value);
}

/** "1 script", "12 scripts". */
export function count(value: number, one: string, many = `${one}s`): string {
  return `${integer.format(value)} ${plurals.select(value) === 'one' ? one : many}`;
}

/** "a, b, and c". */
export function list(words: string[]): string {
  return conjunction.format(words);
}

const SIZES = ['KiB', 'MiB', 'GiB', 'TiB'];

/** "4 KiB": sizes of what was sent or is stored. */
export function bytes(value: number): string {
  if (value < 1024) return count(value, 'byte');
  const power = Math.min(Math.floor(Math.log2(value) / 10), SIZES.length);
  const size = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 }).format(value / 1024 ** power);
  return `${size} ${SIZES[power - 1]}`;
}

/** A text of the API as a sentence: it has neither a capital nor a full stop, for it may follow a field's name. */
export function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[\p{L}\p{N})”"\]]$/u.test(begun) ? `${begun}.` : begun;
}

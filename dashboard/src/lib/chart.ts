/** A chart's points as what is drawn of them. */
import type { ChartView, PointView, ResolutionName } from '$lib/api/schema';

export const RESOLUTIONS: { resolution: ResolutionName; name: string }[] = [
  { resolution: 'minute', name: 'Last hour' },
  { resolution: 'hour', name: 'Last 24 hours' },
  { resolution: 'day', name: 'Last 14 days' },
];

/** What is stacked, from the lowest. */
export const PARTS = [
  { name: 'Succeeded', tone: 'good', of: (point: PointView) => point.success },
  {
    name: 'Stopped',
    tone: 'warn',
    of: (point: PointView) => point.timeout + point.budget_exceeded + point.rejected,
  },
  { name: 'Failed', tone: 'bad', of: (point: PointView) => point.error },
] as const;

/** The mean duration of a point's executions in microseconds; 0 where there are none. */
export function meanDuration({ count, duration_us_sum }: PointView): number {
  return count === 0 ? 0 : duration_us_sum / count;
}

/** All executions of a chart. */
export function sum({ points }: ChartView): number {
  return points.reduce((total, { count }) => total + count, 0);
}

export function highest(values: number[]): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}

/** A line through the values over the width 100 and the height 100, as an SVG path; the origin is at the top. */
export function line(values: number[]): string {
  const top = highest(values) || 1;
  const step = values.length > 1 ? 100 / (values.length - 1) : 0;
  const round = (value: number) => Math.round(value * 100) / 100;
  return values
    .map(
      (value, index) =>
        `${index === 0 ? 'M' : 'L'}${round(index * step)} ${round(100 - (value / top) * 100)}`,
    )
    .join('');
}

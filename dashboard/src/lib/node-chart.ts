/** What a node does and takes, as charts of it. */
import type { NodePointView, NodeStatsView, ResolutionName } from './api/schema';
import { highest } from './chart';
import { bytes, duration, number, percent, rate } from './format';

/** How many points a chart has, and how many seconds one is long. */
const LENGTHS: Record<ResolutionName, { points: number; seconds: number }> = {
  minute: { points: 60, seconds: 60 },
  hour: { points: 24, seconds: 60 * 60 },
  day: { points: 14, seconds: 24 * 60 * 60 },
};

/** What nobody looked at is none. */
type Figure = number | null | undefined;

export interface NodeChart {
  name: string;
  /** What the highest bar is, in words. */
  top: string;
  bars: { title: string; parts: { tone: string; value: number }[] }[];
  /** One cell of the table. */
  cell: (point: NodePointView) => string;
}

/** When a chart begins that ends with the last point. */
export function beginning({ points, resolution }: NodeStatsView): string {
  const { points: places, seconds } = LENGTHS[resolution];
  const last = Date.parse(points.at(-1)?.at ?? '') || Date.now();
  return new Date(last - (places - 1) * seconds * 1000).toISOString();
}

/** The points that a chart has a place for: those before the process began are not there. */
export function places({ points, resolution }: NodeStatsView): (NodePointView | null)[] {
  const missing = Math.max(0, LENGTHS[resolution].points - points.length);
  return [...Array<null>(missing).fill(null), ...points];
}

export const errorShare = ({ requests, server_errors }: NodePointView) =>
  requests === 0 ? 0 : server_errors / requests;

const dropped = ({ log_lines_dropped, records_dropped }: NodePointView) =>
  log_lines_dropped + records_dropped;

/** The charts, in their order. `when` tells of a point when it was. */
export function chartsOf(stats: NodeStatsView, when: (point: NodePointView) => string): NodeChart[] {
  const { seconds } = LENGTHS[stats.resolution];
  const all = places(stats);
  const most = (of: (point: NodePointView) => Figure) => highest(stats.points.map((point) => of(point) ?? 0));
  const perSecond = (point: NodePointView) => point.requests / seconds;
  const chart = (
    name: string,
    of: (point: NodePointView) => Figure,
    told: (value: number) => string,
    parts: (point: NodePointView) => { tone: string; value: number }[],
  ): NodeChart => {
    const cell = (point: NodePointView) => {
      const value = of(point);
      return value == null ? '–' : told(value);
    };
    return {
      name,
      top:
        most(of) === 0
          ? `${name}: none`
          : `${told(most(of))} ${name.charAt(0).toLowerCase()}${name.slice(1)}`,
      bars: all.map((point) =>
        point === null
          ? { title: 'Before this process began', parts: [] }
          : { title: `${when(point)}: ${cell(point)}`, parts: parts(point) },
      ),
      cell,
    };
  };
  const one = (tone: string, of: (point: NodePointView) => Figure) => (point: NodePointView) => [
    { tone, value: of(point) ?? 0 },
  ];
  return [
    chart('Requests per second', perSecond, rate, (point) => [
      { tone: 'good', value: (point.requests - point.client_errors - point.server_errors) / seconds },
      { tone: 'warn', value: point.client_errors / seconds },
      { tone: 'bad', value: point.server_errors / seconds },
    ]),
    chart('Answered with a server error', errorShare, percent, one('bad', errorShare)),
    chart(
      'p50 latency of apps',
      ({ p50_us }) => p50_us,
      duration,
      one('accent', ({ p50_us }) => p50_us),
    ),
    chart(
      'p99 latency of apps',
      ({ p99_us }) => p99_us,
      duration,
      one('accent', ({ p99_us }) => p99_us),
    ),
    chart(
      'Memory in use',
      ({ memory_bytes }) => memory_bytes,
      bytes,
      one('accent', ({ memory_bytes }) => memory_bytes),
    ),
    chart(
      'Free on the disk',
      ({ disk_free_bytes }) => disk_free_bytes,
      bytes,
      one('accent', ({ disk_free_bytes }) => disk_free_bytes),
    ),
    chart(
      'Written to the disk',
      ({ written_bytes }) => written_bytes,
      bytes,
      one('accent', ({ written_bytes }) => written_bytes),
    ),
    chart('Log lines and records dropped', dropped, number, one('warn', dropped)),
  ];
}

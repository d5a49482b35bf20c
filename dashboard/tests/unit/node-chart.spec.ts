/** What is drawn of a node's numbers. */
import { expect, test } from '@playwright/test';
import type { NodePointView, NodeStatsView } from '../../src/lib/api/schema';
import { beginning, chartsOf, errorShare, places } from '../../src/lib/node-chart';

const point = (at: string, more: Partial<NodePointView> = {}): NodePointView => ({
  at,
  requests: 0,
  client_errors: 0,
  server_errors: 0,
  p50_us: null,
  p99_us: null,
  memory_bytes: null,
  disk_free_bytes: null,
  written_bytes: null,
  log_lines_dropped: 0,
  records_dropped: 0,
  ...more,
});

const stats = (points: NodePointView[]): NodeStatsView => ({
  since: '2027-01-15T08:00:00.000Z',
  resolution: 'minute',
  points,
});

test('a process that began lately has its bars at the end of a whole hour', () => {
  const young = stats([point('2027-01-15T08:00:00.000Z'), point('2027-01-15T08:01:00.000Z')]);
  expect(places(young)).toHaveLength(60);
  expect(
    places(young)
      .slice(-3)
      .map((place) => place?.at ?? null),
  ).toEqual([null, '2027-01-15T08:00:00.000Z', '2027-01-15T08:01:00.000Z']);
  expect(beginning(young)).toBe('2027-01-15T07:02:00.000Z');
});

test('requests are told by the second, and by how they ended', () => {
  const busy = point('2027-01-15T08:00:00.000Z', { requests: 120, client_errors: 30, server_errors: 6 });
  const [requests, errors] = chartsOf(stats([busy]), () => 'then');
  expect(requests?.top).toBe('2 requests per second');
  expect(requests?.bars.at(-1)?.parts.map(({ value }) => value)).toEqual([1.4, 0.5, 0.1]);
  expect([errorShare(busy), errors?.cell(busy)]).toEqual([0.05, '5%']);
  expect(errorShare(point(''))).toBe(0);
});

test('what nobody looked at is told as none, and never as nothing', () => {
  const quiet = point('2027-01-15T08:00:00.000Z');
  const charts = chartsOf(stats([quiet]), () => 'then');
  const memory = charts.find(({ name }) => name === 'Memory in use');
  expect([memory?.cell(quiet), memory?.top]).toEqual(['–', 'Memory in use: none']);
});

/** What an event of a trigger may look like, where somebody is to try it out with one. */
import type { TriggerView } from './api/schema';

/** The text of a payload, such as the first thing that it is told of has. */
export function sampleOf(
  { source, config }: Pick<TriggerView, 'source' | 'config'>,
  at = new Date(),
): string {
  const { time_zone, collection, prefix = '', ops = [] } = config;
  const key = { collection, key: `${prefix}sample` };
  switch (source) {
    case 'cron':
      return setOut({ scheduled_at: at.toISOString(), time_zone });
    case 'kv':
      return setOut(ops[0] === 'set' ? { ...key, value: {}, expires_at: null } : key);
    default:
      return '{}';
  }
}

const setOut = (payload: object) => JSON.stringify(payload, null, 2);

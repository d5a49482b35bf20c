/** What an event of a trigger may look like, where somebody is to try it out with one. */
import type { TriggerView } from './api/schema';

/** The text of a payload, such as the first thing that it is told of has. */
export function sampleOf(
  { source, config }: Pick<TriggerView, 'source' | 'config'>,
  at = new Date(),
): string {
  const { time_zone, collection, prefix = '', ops = [] } = config;
  const key = { collection, key: `${prefix}sample` };
  const document = { collection, id: SAMPLE_ID };
  switch (source) {
    case 'cron':
      return setOut({ scheduled_at: at.toISOString(), time_zone });
    case 'kv':
      return setOut(ops[0] === 'set' ? { ...key, value: {}, expires_at: null } : key);
    case 'docs':
      return setOut(ops[0] === 'delete' ? document : { ...document, document: {} });
    default:
      return '{}';
  }
}

/** As ids of documents are, and none that a store has given. */
const SAMPLE_ID = '00000000-0000-7000-8000-000000000000';

const setOut = (payload: object) => JSON.stringify(payload, null, 2);

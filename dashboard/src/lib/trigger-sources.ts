/** What a trigger may listen to, in words. What each source must know is in `trigger-fields.ts`. */
import type { TriggerConfigView, TriggerSource } from './api/schema';
import { exactly } from './legible';

interface SourceWords {
  name: string;
  /** What its events are. */
  what: string;
  /** What a trigger listens to, beside the source's name. */
  place: (config: TriggerConfigView) => string | null;
  /** What is said of it beside that: of which of its events it is told, and how, where that is not the usual. */
  manner: (config: TriggerConfigView) => string[];
}

export const TRIGGER_SOURCES: Record<TriggerSource, SourceWords> = {
  cron: {
    name: 'Cron',
    what: 'Times that come again and again.',
    place: ({ expression }) => expression ?? null,
    manner: ({ time_zone }) => (time_zone ? [time_zone] : []),
  },
  queue: {
    name: 'Queue',
    what: 'Messages that scripts and people send to a queue.',
    place: ({ queue }) => queue ?? null,
    manner: ({ batch_size = 1, concurrency = 1 }) => [
      ...(batch_size > 1 ? [`up to ${batch_size} messages a run`] : []),
      ...(concurrency > 1 ? [`up to ${concurrency} runs at once`] : []),
    ],
  },
  kv: {
    name: 'Key-value store',
    what: 'Changes of entries that scripts and people keep by key.',
    place: ({ collection = '', prefix }) => (prefix ? `${collection}/${exactly(prefix)}` : collection),
    manner: ({ ops = [] }) => [ops.join(', ')],
  },
  docs: {
    name: 'Documents',
    what: 'Changes of documents that scripts and people keep and search.',
    place: ({ collection }) => collection ?? null,
    manner: ({ ops = [] }) => [ops.join(', ')],
  },
  dead_letter: {
    name: 'Dead letters',
    what: 'Events of this app that are not tried again. What fails in the script itself becomes no dead letter.',
    place: () => null,
    manner: () => [],
  },
};

/** A trigger in a few words, as sentences name it: "Queue orders". */
export function toldOf({ source, config }: { source: string; config: TriggerConfigView }): string {
  const { name, place } = TRIGGER_SOURCES[source as TriggerSource];
  return [name, place(config)].filter(Boolean).join(' ');
}

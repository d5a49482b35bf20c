/**
 * What each source of triggers must know, as its form asks for it. A source that the API gains has an entry here, which the compiler asks
 * for, and no part of the form of its own.
 */
import type { TriggerConfigBody, TriggerConfigView, TriggerSource } from './api/schema';

interface Choice {
  value: string;
  name: string;
}

/** A field of a source's settings. */
export type ConfigField = {
  name: keyof TriggerConfigBody & string;
  label: string;
  hint?: string;
  optional?: boolean;
} & (
  | {
      kind: 'text';
      value: string;
      placeholder?: string;
      maxlength?: number;
      /** Texts that are usual, to be taken as they are. */
      presets?: Choice[];
      /** All texts that there are, as far as they are known here. */
      known?: string[];
    }
  | { kind: 'number'; value: number; min: number; max: number }
  | { kind: 'choice'; value: string; choices: Choice[] }
  | { kind: 'several'; value: string[]; choices: Choice[] }
);

/** What is written in them. */
export type ConfigDraft = Record<string, string | number | null | string[]>;

/** The time zone of who looks; a browser that does not know it says so. */
const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
const HERE = timeZone === 'Etc/Unknown' ? 'UTC' : timeZone;

export const FIELDS: Record<TriggerSource, ConfigField[]> = {
  cron: [
    {
      name: 'expression',
      label: 'Expression',
      kind: 'text',
      value: '',
      placeholder: '0 3 * * *',
      maxlength: 128,
      presets: [
        { value: '*/15 * * * *', name: 'Every 15 minutes' },
        { value: '0 3 * * *', name: 'Daily at 03:00' },
        { value: '0 8 * * mon', name: 'Mondays at 08:00' },
      ],
      hint: 'Minute, hour, day of month, month and day of week; or six fields, with the second first.',
    },
    {
      name: 'time_zone',
      label: 'Time zone',
      kind: 'text',
      value: HERE,
      placeholder: 'Europe/Zurich',
      known: [...new Set(['UTC', ...Intl.supportedValuesOf('timeZone')])],
      hint: 'By whose clocks it goes, summer time and all.',
    },
    {
      name: 'misfire',
      label: 'Ticks that were missed',
      kind: 'choice',
      value: 'once',
      choices: [
        { value: 'skip', name: 'Skip: none of them is made up for' },
        { value: 'once', name: 'Once: one event, of the newest' },
        { value: 'all', name: 'All: an event of each, 100 at most' },
      ],
      hint: 'What becomes of those that came while PiCloud was down, or had no room for events.',
    },
  ],
  queue: [
    {
      name: 'queue',
      label: 'Queue',
      kind: 'text',
      value: '',
      placeholder: 'orders',
      maxlength: 63,
      hint: 'Its name: a-z, 0-9, _ and -. A queue has one trigger.',
    },
    {
      name: 'batch_size',
      label: 'Messages of a run, at most',
      kind: 'number',
      value: 1,
      min: 1,
      max: 100,
      hint: '1 to 100. The script finds all of them in ctx.event.batch.',
    },
    {
      name: 'concurrency',
      label: 'Runs at once, at most',
      kind: 'number',
      value: 1,
      min: 1,
      max: 64,
      hint: '1 to 64. With 1, messages are handled in the order in which they were sent.',
    },
  ],
  kv: [
    {
      name: 'collection',
      label: 'Collection',
      kind: 'text',
      value: 'default',
      maxlength: 63,
      hint: 'Its name: a-z, 0-9, _ and -. What scripts keep in none is in default.',
    },
    {
      name: 'prefix',
      label: 'Key prefix',
      kind: 'text',
      value: '',
      optional: true,
      placeholder: 'users/',
      maxlength: 512,
      hint: 'What the keys begin with; all keys where it is empty.',
    },
    {
      name: 'ops',
      label: 'Changes',
      kind: 'several',
      value: ['set', 'delete', 'expire'],
      choices: [
        { value: 'set', name: 'set: an entry is written' },
        { value: 'delete', name: 'delete: an entry is removed' },
        { value: 'expire', name: 'expire: the time of an entry is over' },
      ],
    },
  ],
  docs: [
    {
      name: 'collection',
      label: 'Collection',
      kind: 'text',
      value: '',
      placeholder: 'orders',
      maxlength: 63,
      hint: 'Its name: a-z, 0-9, _ and -.',
    },
    {
      name: 'ops',
      label: 'Changes',
      kind: 'several',
      value: ['insert', 'update', 'delete'],
      choices: [
        { value: 'insert', name: 'insert: a document is added' },
        { value: 'update', name: 'update: a document is changed' },
        { value: 'delete', name: 'delete: a document is removed' },
      ],
    },
  ],
  dead_letter: [],
};

/** What the fields of a source hold: as a trigger has it, or what one begins with. */
export function draftOf(source: TriggerSource, config: TriggerConfigView = {}): ConfigDraft {
  return Object.fromEntries(FIELDS[source].map(({ name, value }) => [name, config[name] ?? value]));
}

/** What is to be sent: a number that is left empty is not there, but an empty text is one. */
export function configOf(source: TriggerSource, draft: ConfigDraft): TriggerConfigBody {
  const filled = FIELDS[source]
    .map(({ name }) => [name, draft[name]] as const)
    .filter(([, value]) => value !== null);
  return Object.fromEntries(filled) as TriggerConfigBody;
}

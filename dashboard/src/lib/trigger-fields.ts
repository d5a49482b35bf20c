/**
 * What each source of triggers must know, as its form asks for it. A source that the API gains has an entry here, which the compiler asks
 * for, and no part of the form of its own.
 */
import type { TriggerConfigBody, TriggerConfigView, TriggerSource } from './api/schema';

/** A field of a source's settings. */
export type ConfigField = {
  name: keyof TriggerConfigBody & string;
  label: string;
  hint?: string;
  optional?: boolean;
} & (
  | { kind: 'text'; value: string; placeholder?: string; maxlength?: number }
  | { kind: 'number'; value: number; min: number; max: number }
  | { kind: 'choice'; value: string; choices: { value: string; name: string }[] }
);

/** What is written in them. */
export type ConfigDraft = Record<string, string | number | null>;

export const FIELDS: Record<TriggerSource, ConfigField[]> = {
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
  dead_letter: [],
};

/** What the fields of a source hold: as a trigger has it, or what one begins with. */
export function draftOf(source: TriggerSource, config: TriggerConfigView = {}): ConfigDraft {
  return Object.fromEntries(FIELDS[source].map(({ name, value }) => [name, config[name] ?? value]));
}

/** What is to be sent: a field that is left empty is not there. */
export function configOf(source: TriggerSource, draft: ConfigDraft): TriggerConfigBody {
  const filled = FIELDS[source]
    .map(({ name }) => [name, draft[name]] as const)
    .filter(([, value]) => value !== null && value !== '');
  return Object.fromEntries(filled) as TriggerConfigBody;
}

/** The limits of scripts, by the names that people read. What they are here, the API tells. */
import type { LimitsView, SandboxView } from '$lib/api/schema';

export type LimitName = keyof SandboxView & keyof LimitsView;

export const LIMITS: { name: LimitName; title: string; what: string }[] = [
  { name: 'max_operations', title: 'Operations', what: 'Steps of one run.' },
  { name: 'max_string_size', title: 'String size', what: 'Bytes of a string.' },
  { name: 'max_array_size', title: 'Array size', what: 'Elements; bytes of a blob.' },
  { name: 'max_map_size', title: 'Map size', what: 'Entries of a map.' },
  { name: 'max_call_levels', title: 'Call levels', what: 'Calls within calls.' },
  { name: 'max_expr_depth', title: 'Expression depth', what: 'Levels of an expression.' },
];

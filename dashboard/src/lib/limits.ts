/** The limits of scripts with the defaults that PiCloud comes with. The API does not tell those that an operator has set. */
import type { SandboxView } from '$lib/api/schema';

export type LimitName = keyof SandboxView;

export const TIMEOUT = { fallback: 5000 };

export const LIMITS: { name: LimitName; title: string; what: string; fallback: number }[] = [
  { name: 'max_operations', title: 'Operations', what: 'Steps of one run.', fallback: 2_000_000 },
  { name: 'max_string_size', title: 'String size', what: 'Bytes of a string.', fallback: 262_144 },
  { name: 'max_array_size', title: 'Array size', what: 'Elements; bytes of a blob.', fallback: 10_000 },
  { name: 'max_map_size', title: 'Map size', what: 'Entries of a map.', fallback: 2_000 },
  { name: 'max_call_levels', title: 'Call levels', what: 'Calls within calls.', fallback: 32 },
  { name: 'max_expr_depth', title: 'Expression depth', what: 'Levels of an expression.', fallback: 64 },
];

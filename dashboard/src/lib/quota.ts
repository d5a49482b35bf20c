/** How near to its quota an app is. */

/** From which share on it is warned of. */
const NEAR = 0.8;

export function toneOf(used: number, most: number): '' | 'warn' | 'bad' {
  if (used >= most) return 'bad';
  return used >= NEAR * most ? 'warn' : '';
}

import * as instance from '$lib/api/instance';
import type { PageLoad } from './$types';

export const load: PageLoad = async () => {
  const [version, stats, nodes] = await Promise.all([
    instance.version(),
    instance.stats({}),
    instance.nodes(),
  ]);
  return { version, stats, nodes };
};

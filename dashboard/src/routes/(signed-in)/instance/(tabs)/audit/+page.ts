import * as instance from '$lib/api/instance';
import type { PageLoad } from './$types';

const LIMIT = 50;

export const load: PageLoad = async ({ url }) => {
  const [kind, action] = [url.searchParams.get('kind'), url.searchParams.get('action')];
  const filter = { limit: LIMIT, object_kind: kind ?? undefined, action: action ?? undefined };
  return { audit: await instance.audit(filter), filter };
};

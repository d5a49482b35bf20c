import * as instance from '$lib/api/instance';
import type { PageLoad } from './$types';

const LIMIT = 50;

export const load: PageLoad = async ({ url }) => {
  const [kind, action] = [url.searchParams.get('kind'), url.searchParams.get('action')];
  const filter = { limit: LIMIT, object_kind: kind ?? undefined, action: action ?? undefined };
  const [audit, version] = await Promise.all([instance.audit(filter), instance.version()]);
  return { audit, filter, version };
};

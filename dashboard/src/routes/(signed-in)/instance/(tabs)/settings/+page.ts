import * as instance from '$lib/api/instance';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends }) => {
  depends('api:settings');
  const [{ value: settings, etag }, limits] = await Promise.all([instance.settings(), instance.limits()]);
  return { settings, etag, limits };
};

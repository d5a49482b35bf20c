import * as apps from '$lib/api/apps';
import { version } from '$lib/api/instance';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:domains');
  const { app } = await parent();
  const [domains, { public_base_url }] = await Promise.all([apps.domains(app.id), version()]);
  return { domains, base: new URL(public_base_url) };
};

import * as secrets from '$lib/api/secrets';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:secrets');
  const { app } = await parent();
  return { secrets: await secrets.list(app.id) };
};

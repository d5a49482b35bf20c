import * as env from '$lib/api/env';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, parent }) => {
  depends('api:env');
  const { app } = await parent();
  return { settings: await env.list(app.id) };
};

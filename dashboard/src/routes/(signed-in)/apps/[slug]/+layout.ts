import { redirect } from '@sveltejs/kit';
import * as apps from '$lib/api/apps';
import * as paths from '$lib/paths';
import type { LayoutLoad } from './$types';

export const load: LayoutLoad = async ({ depends, params, untrack, url }) => {
  depends('api:app');
  const { value: app, etag } = await apps.get(params.slug);
  // A former slug, or an id, leads to the page by the slug of today.
  if (app.slug !== params.slug) {
    const here = paths.app(params.slug);
    redirect(
      308,
      untrack(() => paths.app(app.slug) + url.pathname.slice(here.length) + url.search),
    );
  }
  return { app, etag };
};

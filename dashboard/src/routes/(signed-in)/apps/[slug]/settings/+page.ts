import { redirect } from '@sveltejs/kit';
import { demand } from '$lib/access';
import * as paths from '$lib/paths';
import { may } from '$lib/roles';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent }) => {
  const { app } = await parent();
  // Who may change nothing of the app itself may still see what its scripts read.
  if (!may(app, 'AppManageSettings') && may(app, 'DataRead'))
    redirect(307, paths.appSettings(app.slug, 'environment'));
  demand(app, 'AppManageSettings');
};

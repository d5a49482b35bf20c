import { demand } from '$lib/access';
import * as instance from '$lib/api/instance';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent }) => {
  demand((await parent()).app, 'ScriptWrite');
  return { limits: await instance.limits() };
};

import { demand } from '$lib/access';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ parent }) => {
  demand((await parent()).app, 'AppManageSettings');
};

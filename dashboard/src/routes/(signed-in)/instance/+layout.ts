import { demand } from '$lib/access';
import type { LayoutLoad } from './$types';

export const load: LayoutLoad = async ({ parent }) => {
  demand((await parent()).me, 'InstanceRead');
};

import * as instance from '$lib/api/instance';
import type { PageLoad } from './$types';

export const load: PageLoad = async () => ({ limits: await instance.limits() });

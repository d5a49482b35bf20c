import * as certificates from '$lib/api/certificates';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends }) => {
  depends('api:certificates');
  return { certificates: await certificates.list() };
};

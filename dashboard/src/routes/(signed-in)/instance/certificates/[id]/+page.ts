import * as certificates from '$lib/api/certificates';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends, params }) => {
  depends('api:certificate');
  return { certificate: await certificates.get(params.id) };
};

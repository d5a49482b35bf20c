import * as users from '$lib/api/users';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends }) => {
  depends('api:users');
  return { users: await users.list() };
};

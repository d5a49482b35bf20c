import * as auth from '$lib/api/auth';
import * as users from '$lib/api/users';
import type { PageLoad } from './$types';

export const load: PageLoad = async ({ depends }) => {
  depends('api:profile');
  const [me, sessions, keys] = await Promise.all([auth.meRevised(), auth.sessions(), users.keys()]);
  return { mine: me, sessions, keys };
};

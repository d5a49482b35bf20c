import { redirect } from '@sveltejs/kit';
import * as auth from '$lib/api/auth';
import { ApiProblem } from '$lib/api/problem';
import * as paths from '$lib/paths';
import { session } from '$lib/session.svelte';
import type { LayoutLoad } from './$types';

export const load: LayoutLoad = async ({ depends, untrack, url }) => {
  depends('api:me');
  try {
    session.user = await auth.me();
    return { me: session.user };
  } catch (thrown) {
    if (thrown instanceof ApiProblem && thrown.status === 401) {
      // Untracked, for the address must not have each page ask again who is signed in.
      redirect(307, paths.login(untrack(() => url.pathname + url.search)));
    }
    throw thrown;
  }
};

import { redirect } from '@sveltejs/kit';
import * as paths from '$lib/paths';

export function load(): never {
  redirect(307, paths.apps);
}

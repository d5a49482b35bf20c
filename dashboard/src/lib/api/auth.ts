/** `auth/*`: the first owner, signing in and out, oneself. */
import { api, ok, revised, ifMatch, PAGE, quietly } from './client';
import type { ChangePassword, LogIn, SetUp } from './schema';

export const me = () => ok(api.GET('/auth/me'));

/** Who is signed in by now, if anybody is: nobody is asked for a password. */
export const whoever = () => ok(api.GET('/auth/me', { fetch: quietly }));

export const meRevised = () => revised(api.GET('/auth/me'));

export const setUp = (body: SetUp) => ok(api.POST('/auth/setup', { body }));

export const logIn = (body: LogIn) => ok(api.POST('/auth/login', { body }));

export const logOut = () => ok(api.POST('/auth/logout', { fetch: quietly }));

export const changeEmail = (email: string | null, etag: string) =>
  ok(api.PATCH('/auth/me', { params: { header: ifMatch(etag) }, body: { email } }));

export const changePassword = (body: ChangePassword) => ok(api.POST('/auth/me/password', { body }));

export const sessions = (cursor?: string) =>
  ok(api.GET('/auth/me/sessions', { params: { query: { limit: PAGE, cursor } } }));

export const endSession = (id: string) =>
  ok(api.DELETE('/auth/me/sessions/{session}', { params: { path: { session: id } } }));

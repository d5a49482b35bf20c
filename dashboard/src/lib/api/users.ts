/** `admins` and `api-keys`: people, and what programs sign their calls with. */
import { api, ifMatch, ok, PAGE, revised } from './client';
import type { CreateApiKey, CreateUser, UpdateUser } from './schema';

export const list = (cursor?: string) =>
  ok(api.GET('/admins', { params: { query: { limit: PAGE, cursor } } }));

export const get = (user: string) => revised(api.GET('/admins/{user}', { params: { path: { user } } }));

export const create = (body: CreateUser) => ok(api.POST('/admins', { body }));

export const update = (user: string, body: UpdateUser, etag: string) =>
  ok(api.PATCH('/admins/{user}', { params: { path: { user }, header: ifMatch(etag) }, body }));

export const remove = (user: string) => ok(api.DELETE('/admins/{user}', { params: { path: { user } } }));

/** Has a new password made up, which is shown this once. */
export const resetPassword = (user: string) =>
  ok(api.POST('/admins/{user}/reset-password', { params: { path: { user } }, body: {} }));

export const keys = (cursor?: string) =>
  ok(api.GET('/api-keys', { params: { query: { limit: PAGE, cursor } } }));

export const createKey = (body: CreateApiKey) => ok(api.POST('/api-keys', { body }));

export const revokeKey = (key: string) => ok(api.DELETE('/api-keys/{key}', { params: { path: { key } } }));

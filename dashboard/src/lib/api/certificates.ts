/** `certificates`: what is served by HTTPS, and how far getting it has come. */
import { api, ok, PAGE } from './client';
import type { UploadCertificate } from './schema';

export const list = (cursor?: string) =>
  ok(api.GET('/certificates', { params: { query: { limit: PAGE, cursor } } }));

export const get = (certificate: string) =>
  ok(api.GET('/certificates/{certificate}', { params: { path: { certificate } } }));

export const renew = (certificate: string) =>
  ok(api.POST('/certificates/{certificate}/renew', { params: { path: { certificate } } }));

export const upload = (body: UploadCertificate) => ok(api.POST('/certificates', { body }));

export const remove = (certificate: string) =>
  ok(api.DELETE('/certificates/{certificate}', { params: { path: { certificate } } }));

/** Looks at what an authority would find. It takes some seconds. */
export const preflight = (name: string) => ok(api.POST('/certificates:preflight', { body: { name } }));

/** Where a browser downloads the root of the instance's own authority from, once there is one. */
export const INTERNAL_ROOT = '/api/v1/admin/certificates:internal-root';

/** What went wrong with a call of the API, as a value that pages can show and branch on. */
import { CAPABILITIES, type Capability } from '../roles';
import type { Problem } from './schema';

/** Codes of this side: the server said nothing that could be read. */
const UNREACHABLE = 'unreachable';
const UNREADABLE = 'unreadable_answer';

export class ApiProblem extends Error {
  readonly status: number;
  /** The stable name of the problem. */
  readonly code: string;
  /** The whole document, with the members that its code has. */
  readonly document: Partial<Problem>;

  constructor(status: number, document: Partial<Problem>) {
    super(refusal(document) ?? document.detail ?? `The server answered ${status} without saying why.`);
    this.name = 'ApiProblem';
    this.status = status;
    this.code = document.code ?? UNREADABLE;
    this.document = document;
  }

  static unreachable(): ApiProblem {
    const detail =
      'PiCloud cannot be reached. Check that it runs and that you are connected, then try again.';
    return new ApiProblem(0, { code: UNREACHABLE, detail });
  }

  /** What an error body of any shape comes to: something between here and the server may have answered in its place. */
  static of(status: number, body: unknown): ApiProblem {
    const isDocument = typeof body === 'object' && body !== null && 'code' in body;
    return new ApiProblem(status, isDocument ? (body as Problem) : {});
  }

  /** What is wrong with one field of what was sent. */
  ofField(field: string): string | undefined {
    return this.document.errors?.find((error) => isWithin(error.field, field))?.detail;
  }

  /** Whether every complaint of it is about one of these fields, which then show it. */
  isAbout(fields: readonly string[]): boolean {
    const errors = this.document.errors ?? [];
    return errors.length > 0 && errors.every((error) => fields.some((field) => isWithin(error.field, field)));
  }
}

/** A problem with one field, as the API tells it. */
export function invalid(field: string, detail: string): ApiProblem {
  return new ApiProblem(0, { code: 'invalid', detail, errors: [{ field, detail }] });
}

/** What a role does not include, in words: the API's own text names the capability. */
function refusal({ code, capability }: Partial<Problem>): string | undefined {
  if (code !== 'forbidden') return undefined;
  const what = CAPABILITIES[capability as Capability] as string | undefined;
  return what && `your role does not let you ${what}`;
}

/** Whether what is complained of is the field or lies in it, as an element of a list does. */
function isWithin(path: string, field: string): boolean {
  return path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`);
}

/** What reading gives, or null where there is no such thing. */
export async function found<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (thrown) {
    if (thrown instanceof ApiProblem && thrown.status === 404) return null;
    throw thrown;
  }
}

/** Any thrown value as a problem; what is not one is a defect of the dashboard, and says so. */
export function asProblem(thrown: unknown): ApiProblem {
  if (thrown instanceof ApiProblem) return thrown;
  console.error(thrown);
  return new ApiProblem(0, {
    code: 'defect',
    detail: 'The dashboard has failed here. Reload the page and try again.',
  });
}

/** The shape of what the editor knows of scripts' functions. */

export interface SdkFunction {
  /** `len`, or `hash::sha256`. */
  name: string;
  /** The types of the parameters, for each of its forms. */
  signatures: string[][];
}

export interface Sdk {
  functions: SdkFunction[];
  /** The fields of `ctx` and its parts, by type. */
  fields: Record<string, string[]>;
  /** What the SDK's page says, by name; of fields by their whole path, such as `ctx.request.body`. Markdown's code spans are in it. */
  docs: Record<string, string>;
}

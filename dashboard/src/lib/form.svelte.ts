/** One form on its way to the API: whether it is being sent, and what the API found wrong, field by field. */
import { tick } from 'svelte';
import { ApiProblem, asProblem } from '$lib/api/problem';

export class Form {
  busy = $state(false);
  problem = $state<ApiProblem | null>(null);
  readonly #fieldOfCode: Readonly<Record<string, string>>;
  #element: HTMLFormElement | null = null;

  /** `fieldOfCode` tells which field a problem is about that does not name one, such as `slug_taken`. */
  constructor(fieldOfCode: Readonly<Record<string, string>> = {}) {
    this.#fieldOfCode = fieldOfCode;
  }

  /** Told by the form's element, whose faulty fields are then found. */
  attach = (element: HTMLFormElement) => {
    this.#element = element;
    return () => {
      this.#element = null;
    };
  };

  /** What is wrong with a field that the form shows. */
  errorOf(field: string): string | undefined {
    if (this.problem === null) return undefined;
    if (this.#fieldOfCode[this.problem.code] === field) return this.problem.message;
    return this.problem.ofField(field);
  }

  /** Whether some field shows the problem. */
  isShownBy(fields: readonly string[]): boolean {
    const { problem } = this;
    if (problem === null) return false;
    const named = this.#fieldOfCode[problem.code];
    return named === undefined ? problem.isAbout(fields) : fields.includes(named);
  }

  clear(): void {
    this.problem = null;
  }

  /** Sends it, at most once at a time; tells whether that succeeded. A refusal is shown, and its first field focused. */
  async submit(send: () => Promise<unknown>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.problem = null;
    try {
      await send();
      return true;
    } catch (thrown) {
      this.problem = asProblem(thrown);
      await tick();
      this.#element?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
      return false;
    } finally {
      this.busy = false;
    }
  }
}

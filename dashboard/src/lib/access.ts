/** Pages that a role does not reach, opened by their address: they say so, and offer nothing that would be refused. */
import { ApiProblem } from './api/problem';
import { type Capability, may } from './roles';

/** Fails as the API does where the caller may not. */
export function demand(holder: { my_capabilities: string[] }, capability: Capability): void {
  if (!may(holder, capability)) throw new ApiProblem(403, { code: 'forbidden', capability });
}

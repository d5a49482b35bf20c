/** The roles and capabilities of the API, by the names that people read. */
import type { AppRole, InstanceRole } from '$lib/api/schema';

export type Capability =
  | 'InstanceManageUsers'
  | 'InstanceManageSettings'
  | 'InstanceRead'
  | 'AppCreate'
  | 'AppRead'
  | 'ScriptRead'
  | 'LogRead'
  | 'DataRead'
  | 'ScriptInvoke'
  | 'ScriptWrite'
  | 'RouteWrite'
  | 'TriggerWrite'
  | 'DeadLetterAct'
  | 'DataWrite'
  | 'AppManageDomains'
  | 'AppManageMembers'
  | 'AppManageSecrets'
  | 'AppManageSettings'
  | 'AppDelete';

/** What the server says that the caller may do: pages decide by this alone, never by a role. */
export function may(holder: { my_capabilities: string[] } | null, capability: Capability): boolean {
  return holder?.my_capabilities.includes(capability) ?? false;
}

/** What each lets one do, as a sentence goes on after "may". */
export const CAPABILITIES: Record<Capability, string> = {
  InstanceManageUsers: 'manage users',
  InstanceManageSettings: 'change the settings and certificates of this instance',
  InstanceRead: 'see the state of this instance',
  AppCreate: 'create apps',
  AppRead: 'see this app',
  ScriptRead: 'read the scripts of this app',
  LogRead: 'read the executions of this app',
  DataRead: 'see the data of this app',
  ScriptInvoke: 'test the scripts of this app',
  ScriptWrite: 'change the scripts of this app',
  RouteWrite: 'change the routes of this app',
  TriggerWrite: 'change the triggers of this app',
  DeadLetterAct: 'replay and resolve the dead letters of this app',
  DataWrite: 'change the data of this app',
  AppManageDomains: 'manage the domains of this app',
  AppManageMembers: 'manage the members of this app',
  AppManageSecrets: 'change the secrets of this app',
  AppManageSettings: 'change the settings of this app',
  AppDelete: 'delete this app',
};

export const ROLE_NAMES: Record<AppRole | InstanceRole, string> = {
  owner: 'Owner',
  admin: 'Admin',
  member: 'Member',
  app_admin: 'App admin',
  editor: 'Editor',
  viewer: 'Viewer',
};

export const INSTANCE_ROLES: { role: InstanceRole; what: string }[] = [
  { role: 'member', what: 'Sees only the apps that they are a member of.' },
  { role: 'admin', what: 'Creates apps and users, edits every app, reads the audit log.' },
  { role: 'owner', what: 'May do everything, in every app and to every user.' },
];

export const APP_ROLES: { role: AppRole; what: string }[] = [
  { role: 'viewer', what: 'Reads scripts, routes, logs and data.' },
  {
    role: 'editor',
    what: 'Also writes and tests scripts, binds routes, sets up triggers, and changes data.',
  },
  { role: 'app_admin', what: 'Also manages domains, members, secrets and settings, and may delete the app.' },
];

/** From the weakest, for comparing. */
const ORDER: InstanceRole[] = ['member', 'admin', 'owner'];

/** Whether somebody of one role may make or change users of another: nobody does so above their own. */
export function reaches(own: InstanceRole, other: InstanceRole): boolean {
  return ORDER.indexOf(own) >= ORDER.indexOf(other);
}

// The places of the dashboard: the rail, the palette and the `g n` keys are made from this one list.
import type { Permission } from '@/api/schema';
import type { IconName } from '@/ui/Icon';

export interface Place {
  title: string;
  to: '/' | '/nodes' | '/roles' | '/policies' | '/config' | '/changes' | '/approvals' | '/drift' | '/sources' | '/runs' | '/operations' | '/enrol' | '/audit' | '/users' | '/mail' | '/tokens' | '/account';
  icon: IconName;
  /** The second key after `g`. */
  key: string;
  group: 'fleet' | 'manage';
  permission: Permission;
  /** The scope over which the permission is needed; somewhere without one. */
  over?: 'fleet';
  isInRail: boolean;
}

export const places: readonly Place[] = [
  { title: 'Overview', to: '/', icon: 'overview', key: 'o', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Nodes', to: '/nodes', icon: 'nodes', key: 'n', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Roles', to: '/roles', icon: 'roles', key: 'r', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Policies', to: '/policies', icon: 'key', key: 'l', group: 'fleet', permission: 'view', isInRail: false },
  { title: 'Config', to: '/config', icon: 'config', key: 'c', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Changes', to: '/changes', icon: 'changes', key: 'h', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Approvals', to: '/approvals', icon: 'check', key: 'v', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Drift', to: '/drift', icon: 'drift', key: 'd', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Sources', to: '/sources', icon: 'folder', key: 's', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Operations', to: '/operations', icon: 'script', key: 'p', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Job runs', to: '/runs', icon: 'jobs', key: 'j', group: 'fleet', permission: 'view', isInRail: true },
  { title: 'Enrol a node', to: '/enrol', icon: 'enrol', key: 'e', group: 'manage', permission: 'manage_nodes', isInRail: true },
  { title: 'API tokens', to: '/tokens', icon: 'key', key: 't', group: 'manage', permission: 'own_account', isInRail: true },
  { title: 'Users', to: '/users', icon: 'users', key: 'u', group: 'manage', permission: 'manage_users', isInRail: true },
  { title: 'Mail', to: '/mail', icon: 'mail', key: 'm', group: 'manage', permission: 'manage_users', isInRail: true },
  { title: 'Audit', to: '/audit', icon: 'audit', key: 'a', group: 'manage', permission: 'view_audit', isInRail: true },
  { title: 'Your account', to: '/account', icon: 'users', key: 'y', group: 'manage', permission: 'own_account', isInRail: false },
];

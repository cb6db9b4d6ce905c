// Which questions an event makes stale. Keys are those of `api/queries.ts`.
import type { EventKind } from '@/api/schema';

const areas: Record<EventKind, readonly string[]> = {
  'fleet.node.enrolled': ['kept-back', 'nodes', 'fleet-map', 'overview', 'roles', 'protections', 'freezes', 'enrol', 'activity', 'audit'],
  'fleet.node.connected': ['nodes', 'fleet-map', 'overview', 'roles', 'enrol', 'activity', 'changes'],
  'fleet.node.disconnected': ['nodes', 'fleet-map', 'overview', 'roles', 'enrol', 'activity', 'changes'],
  'fleet.node.changed': ['kept-back', 'nodes', 'fleet-map', 'overview', 'roles', 'objects', 'approvals', 'protections', 'freezes', 'activity', 'audit'],
  'fleet.node.revoked': ['nodes', 'fleet-map', 'overview', 'activity', 'audit'],
  'fleet.node.removed': ['kept-back', 'nodes', 'fleet-map', 'overview', 'roles', 'objects', 'approvals', 'protections', 'freezes', 'activity', 'audit'],
  'fleet.node.refused': ['overview', 'activity'],
  'fleet.node.declined': ['nodes', 'fleet-map', 'overview', 'roles', 'changes', 'activity'],
  'host.report.lost': ['overview', 'activity'],
  'fleet.token.changed': ['enrol', 'tokens', 'audit'],
  'host.node.reported': ['nodes', 'fleet-map', 'overview', 'roles', 'changes', 'activity'],
  'host.generation.quarantined': ['nodes', 'fleet-map', 'overview', 'roles', 'changes', 'activity'],
  'host.drift.found': ['nodes', 'fleet-map', 'overview', 'roles', 'drift', 'activity'],
  'host.drift.ended': ['nodes', 'fleet-map', 'overview', 'roles', 'drift', 'activity'],
  'change.object.changed': ['kept-back', 'objects', 'sources', 'roles', 'nodes', 'overview', 'activity', 'audit'],
  'change.change.moved': ['kept-back', 'changes', 'approvals', 'overview', 'nodes', 'activity', 'audit'],
  'change.rollout.moved': ['kept-back', 'changes', 'overview', 'activity', 'audit'],
  'change.schedule.moved': ['changes', 'overview', 'activity', 'audit'],
  'change.protection.changed': ['changes', 'approvals', 'protections', 'overview', 'activity', 'audit'],
  'change.freeze.changed': ['changes', 'freezes', 'overview', 'activity', 'audit'],
  'change.source.changed': ['sources', 'objects', 'activity', 'audit'],
  'change.source.moved': ['sources', 'changes', 'overview', 'activity', 'audit'],
  'operation.operation.started': ['operations', 'gates', 'activity', 'audit'],
  'operation.operation.cancelled': ['operations', 'activity', 'audit'],
  'operation.operation.ended': ['operations', 'gates', 'activity'],
  'operation.run.moved': ['operations', 'gates'],
  'job.run.recorded': ['runs', 'activity'],
  'access.user.changed': ['users', 'security-keys', 'approvals', 'tokens', 'audit'],
  'access.provider.changed': ['users', 'sign-in-options', 'audit'],
  'access.session.opened': ['users', 'audit'],
  'access.session.refused': ['audit'],
  'access.key.suspect': ['audit', 'security-keys'],
  'mail.setting.changed': ['mail', 'audit'],
  'mail.delivery.moved': ['mail', 'overview'],
};

// These are asked of the nodes themselves, and what was shown is what somebody is about to confirm.
const ONCE: readonly unknown[] = ['compare', 'take-over'];

/** Whether a question is asked again only when somebody asks for it. */
export function isAskedOnce(area: unknown): boolean {
  return ONCE.includes(area);
}

export const KINDS = Object.keys(areas) as EventKind[];

/** Returns the areas that an event concerns; none for a kind that this dashboard does not know. */
export function areasOf(kind: string): readonly string[] {
  return Object.hasOwn(areas, kind) ? areas[kind as EventKind] : [];
}

// Who is signed in, and what they may do.
import { queryOptions, useSuspenseQuery } from '@tanstack/react-query';
import { api, setCsrfToken, take } from './client';
import { rememberKnown } from './early';
import type { Permission, Session } from './schema';

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async () => remember(await take(api.GET('/api/v1/session'))),
  staleTime: 5 * 60_000,
  retry: false,
});

/** Stands in the browser's session storage when a session ended that nobody here ended. */
export const ENDED = 'lampas.session-ended';

/** Keeps the CSRF token of a session that was just opened. */
export function remember(session: Session): Session {
  setCsrfToken(session.csrf_token);
  rememberKnown(true);
  return session;
}

/** Returns the session; pages behind the sign-in always have one. */
export function useSession(): Session {
  return useSuspenseQuery(sessionQuery).data;
}

const words: Record<Permission, string> = {
  view: 'see the fleet',
  read_content: 'read contents',
  change: 'change configuration',
  write_secret: 'set secrets',
  run: 'run scripts and commands',
  manage_nodes: 'manage nodes',
  approve: 'approve changes',
  freeze: 'declare freezes',
  protect: 'say what needs an approval',
  manage_users: 'manage users',
  view_audit: 'read the audit',
  own_account: 'change your account',
};

/** Whether something may be done: somewhere, or over a scope. What only the controller can tell, such as which nodes a label has, counts as allowed. */
export function mayOn(session: Session, permission: Permission, scope?: string): boolean {
  if (!session.permissions.includes(permission)) return false;
  if (scope !== 'fleet' && scope?.startsWith('role:') !== true) return true;
  return session.rights.some((right) => right.permissions.includes(permission) && right.scopes.every((within) => within === 'fleet' || within === scope));
}

/** Returns over what something may be done; nothing when it is the whole fleet. */
export function partsOf(session: Session, permission: Permission): readonly string[] | undefined {
  const held = session.rights.filter((right) => right.permissions.includes(permission));
  if (held.some((right) => right.scopes.every((scope) => scope === 'fleet'))) return undefined;
  return [...new Set(held.flatMap((right) => right.scopes))];
}

/** Returns why the user may not do it, for a disabled button; undefined when they may. With a scope: why not all over it. */
export function useRefusal(permission: Permission, scope?: string): string | undefined {
  const session = useSession();
  if (mayOn(session, permission, scope)) return undefined;
  if (session.permissions.includes(permission)) {
    const where = session.rights.filter((right) => right.permissions.includes(permission)).map((right) => right.scopes.join(' and '));
    return `You may ${words[permission]} on ${where.join(', ')}, not on all of ${scope ?? 'it'}.`;
  }
  if (session.preset === 'none') return `Nothing that was granted to you lets you ${words[permission]}.`;
  return `You are signed in as ${session.preset}, who may not ${words[permission]}.`;
}

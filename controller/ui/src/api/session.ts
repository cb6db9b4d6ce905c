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
  run: 'run scripts and commands',
  manage_nodes: 'manage nodes',
  approve: 'approve changes',
  freeze: 'declare freezes',
  protect: 'say what needs an approval',
  manage_users: 'manage users',
  view_audit: 'read the audit',
  own_account: 'change your account',
};

/** Returns why the user may not do it, for a disabled button; undefined when they may. */
export function useRefusal(permission: Permission): string | undefined {
  const session = useSession();
  if (session.permissions.includes(permission)) return undefined;
  return `You are signed in as ${session.preset}, who may not ${words[permission]}.`;
}

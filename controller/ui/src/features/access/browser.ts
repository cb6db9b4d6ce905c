import type { OpenSession } from '@/api/schema';

/** Names what a session is used with: lampasctl on a machine, or a browser. */
export function openedWith(session: OpenSession): string {
  return session.machine == null ? browserOf(session.agent) : `lampasctl on ${session.machine}`;
}

/** Names browser and system of a user agent; what it doesn't know it shows as it is. */
export function browserOf(agent: string): string {
  const browser = [['Edg/', 'Edge'], ['OPR/', 'Opera'], ['Firefox/', 'Firefox'], ['Chrome/', 'Chrome'], ['Safari/', 'Safari']].find(([mark = '']) => agent.includes(mark))?.[1];
  const system = [['Android', 'Android'], ['iPhone', 'iPhone'], ['iPad', 'iPad'], ['Windows', 'Windows'], ['Mac OS X', 'macOS'], ['Linux', 'Linux']].find(([mark = '']) => agent.includes(mark))?.[1];
  if (browser === undefined) return agent === '' ? 'An unknown program' : agent.slice(0, 60);
  return system === undefined ? browser : `${browser} on ${system}`;
}

import { describe, expect, it } from 'vitest';
import type { Session } from './schema';
import { mayOn, partsOf } from './session';

function session(...rights: { permissions: Session['permissions']; scopes: string[] }[]): Session {
  return { permissions: rights.flatMap((right) => right.permissions), rights } as unknown as Session;
}

describe('what may be done where', () => {
  it('names the parts, and nothing for the whole fleet', () => {
    expect(partsOf(session({ permissions: ['manage_nodes'], scopes: ['role:app'] }, { permissions: ['view'], scopes: ['fleet'] }), 'manage_nodes')).toEqual(['role:app']);
    expect(partsOf(session({ permissions: ['manage_nodes'], scopes: ['role:app'] }, { permissions: ['manage_nodes'], scopes: ['label:env=prod'] }), 'manage_nodes')).toEqual(['role:app', 'label:env=prod']);
    expect(partsOf(session({ permissions: ['manage_nodes'], scopes: ['role:app'] }, { permissions: ['manage_nodes'], scopes: ['fleet'] }), 'manage_nodes')).toBeUndefined();
  });

  it('lets a role in only where it is held whole', () => {
    const held = session({ permissions: ['manage_nodes'], scopes: ['role:app'] });
    expect(mayOn(held, 'manage_nodes', 'role:app')).toBe(true);
    expect(mayOn(held, 'manage_nodes', 'role:database')).toBe(false);
    const both = session({ permissions: ['manage_nodes'], scopes: ['role:app', 'label:env=prod'] });
    expect(mayOn(both, 'manage_nodes', 'role:app')).toBe(false);
  });
});

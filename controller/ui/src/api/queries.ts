// Every question that a page asks the API, with its cache key. The first part of a key is the area that live events
// name when something of it changed (`live/areas.ts`).
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, take } from './client';
import type { FleetMapGroup } from './schema';

/** The rows of a list's page. */
export const PAGE = 100;

/** The most rows that the controller gives at once. */
const MOST = 500;

export interface NodeFilter {
  query?: string | undefined;
  role?: string | undefined;
  state?: string | undefined;
  config?: string | undefined;
  label?: string | undefined;
  after?: string | undefined;
}

export const setupQuery = queryOptions({ queryKey: ['setup'], queryFn: () => take(api.GET('/api/v1/setup')), staleTime: Infinity });

export const overviewQuery = queryOptions({ queryKey: ['overview'], queryFn: () => take(api.GET('/api/v1/overview')) });

/** A node on the fleet map; its name is all that is known of it there. */
export interface MapTile {
  name: string;
  role: string | null;
  state: FleetMapGroup['state'];
  config: FleetMapGroup['config'];
  is_observing: boolean;
}

export const fleetMapQuery = queryOptions({ queryKey: ['fleet-map'], queryFn: async () => tilesOf(await take(api.GET('/api/v1/fleet-map'))) });

/** Takes the groups apart: nodes stand by name, whatever state they are in, so that a change of state moves none. */
export function tilesOf(groups: readonly FleetMapGroup[]): MapTile[] {
  const tiles = groups.flatMap(({ role = null, state, config, observes = false, nodes }) => nodes.map((name): MapTile => ({ name, role, state, config, is_observing: observes })));
  return tiles.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export const nodesQuery = (filter: NodeFilter) =>
  queryOptions({
    queryKey: ['nodes', filter],
    queryFn: () => take(api.GET('/api/v1/nodes', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

export const nodeQuery = (node: string) =>
  queryOptions({ queryKey: ['nodes', 'one', node], queryFn: () => take(api.GET('/api/v1/nodes/{node}', { params: { path: { node } } })) });

/** What the nodes' own policies allow. */
export const policiesQuery = queryOptions({ queryKey: ['nodes', 'policies'], queryFn: () => take(api.GET('/api/v1/policies')) });

/** Who uses a script. */
export const scriptUsesQuery = (object: string) =>
  queryOptions({ queryKey: ['objects', 'uses', object], queryFn: () => take(api.GET('/api/v1/objects/{object}/script-uses', { params: { path: { object } } })) });

export const nodeResourcesQuery = (node: string) =>
  queryOptions({ queryKey: ['nodes', 'resources', node], queryFn: () => allPages((after) => take(api.GET('/api/v1/nodes/{node}/resources', { params: { path: { node }, query: defined({ after, limit: MOST }) } }))) });

export const nodeActivityQuery = (node: string) =>
  queryOptions({ queryKey: ['activity', node], queryFn: () => take(api.GET('/api/v1/nodes/{node}/activity', { params: { path: { node }, query: { limit: 50 } } })) });

/** What stands unmanaged on the nodes of a role, asked of the nodes themselves: not again by itself. */
export const compareQuery = (role: string) =>
  queryOptions({ queryKey: ['compare', role], queryFn: () => take(api.GET('/api/v1/roles/{role}/compare', { params: { path: { role } } })), staleTime: Infinity, gcTime: 300_000, retry: false });

/** What taking a node over would do, asked of the node itself once: what is shown is what is confirmed. */
export const takeOverQuery = (node: string) =>
  queryOptions({ queryKey: ['take-over', node], queryFn: () => take(api.GET('/api/v1/nodes/{node}/manage', { params: { path: { node } } })), staleTime: Infinity, gcTime: 0, retry: false });

export const rolesQuery = queryOptions({ queryKey: ['roles'], queryFn: async () => (await take(api.GET('/api/v1/roles'))).items });

export const roleQuery = (role: string) =>
  queryOptions({ queryKey: ['roles', role], queryFn: () => take(api.GET('/api/v1/roles/{role}', { params: { path: { role } } })) });

export interface ObjectFilter {
  kind?: string | undefined;
  scope?: string | undefined;
  set?: string | undefined;
  query?: string | undefined;
  after?: string | undefined;
}

export const objectsQuery = (filter: ObjectFilter) =>
  queryOptions({
    queryKey: ['objects', filter],
    queryFn: () => take(api.GET('/api/v1/objects', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

export const objectQuery = (id: string) =>
  queryOptions({ queryKey: ['objects', 'one', id], queryFn: () => take(api.GET('/api/v1/objects/{object}', { params: { path: { object: id } } })) });

/** What rollouts keep from nodes: one object, or all that one node doesn't have. */
export const keptBackQuery = (filter: { object?: string; node?: string }) =>
  queryOptions({ queryKey: ['kept-back', filter], queryFn: () => take(api.GET('/api/v1/kept-back', { params: { query: filter } })) });

export interface DeletedFilter {
  kind?: string | undefined;
  scope?: string | undefined;
  name?: string | undefined;
  after?: string | undefined;
}

export const deletedQuery = (filter: DeletedFilter) =>
  queryOptions({
    queryKey: ['objects', 'deleted', filter],
    queryFn: () => take(api.GET('/api/v1/objects/deleted', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

export const setsQuery = queryOptions({ queryKey: ['objects', 'sets'], queryFn: () => take(api.GET('/api/v1/sets')) });

export const usesQuery = (id: string) =>
  queryOptions({ queryKey: ['objects', 'uses', id], queryFn: () => take(api.GET('/api/v1/objects/{object}/uses', { params: { path: { object: id } } })) });

export const historyQuery = (filter: { from: string; to?: string | undefined; scope?: string | undefined }) =>
  queryOptions({ queryKey: ['objects', 'history', filter], queryFn: () => take(api.GET('/api/v1/history', { params: { query: { ...defined({ to: filter.to, scope: filter.scope }), from: filter.from } } })) });

export const exportQuery = (filter: { scope?: string | undefined; kind?: string | undefined; at?: string | undefined }) =>
  queryOptions({ queryKey: ['objects', 'export', filter], queryFn: () => take(api.GET('/api/v1/export', { params: { query: defined(filter) } })) });

export const secondFactorQuery = queryOptions({ queryKey: ['users', 'second-factor'], queryFn: () => take(api.GET('/api/v1/session/second-factor')) });

export const securityKeysQuery = queryOptions({ queryKey: ['security-keys', 'own'], queryFn: () => take(api.GET('/api/v1/session/security-keys')) });

export const securityKeysOfQuery = (user: string) => queryOptions({ queryKey: ['security-keys', user], queryFn: () => take(api.GET('/api/v1/users/{user}/security-keys', { params: { path: { user } } })) });

export const signInRulesQuery = queryOptions({ queryKey: ['users', 'rules'], queryFn: () => take(api.GET('/api/v1/sign-in-rules')) });

export const allSessionsQuery = (user: string | undefined, after: string | undefined) =>
  queryOptions({ queryKey: ['users', 'all-sessions', user, after], queryFn: () => take(api.GET('/api/v1/sessions', { params: { query: { ...(user === undefined ? { all: true } : { user }), ...defined({ after }), limit: PAGE } } })), placeholderData: keepPreviousData });

export const sessionsQuery = queryOptions({ queryKey: ['users', 'sessions'], queryFn: () => take(api.GET('/api/v1/sessions')) });

export const revisionsQuery = (id: string) =>
  infiniteQueryOptions({
    queryKey: ['objects', 'revisions', id],
    queryFn: ({ pageParam }) => take(api.GET('/api/v1/objects/{object}/revisions', { params: { path: { object: id }, query: defined({ after: pageParam, limit: PAGE }) } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
  });

export const diffQuery = (id: string, from: number, to: number) =>
  queryOptions({
    queryKey: ['objects', 'diff', id, from, to],
    queryFn: () => take(api.GET('/api/v1/objects/{object}/diff', { params: { path: { object: id }, query: { from, to } } })),
    staleTime: Infinity,
  });

export interface ChangeFilter {
  state?: string | undefined;
  scope?: string | undefined;
  kind?: string | undefined;
  author?: string | undefined;
  after?: string | undefined;
}

export const changesQuery = (filter: ChangeFilter) =>
  queryOptions({
    queryKey: ['changes', filter],
    queryFn: () => take(api.GET('/api/v1/changes', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

export const changeQuery = (change: string) =>
  queryOptions({ queryKey: ['changes', 'one', change], queryFn: () => take(api.GET('/api/v1/changes/{change}', { params: { path: { change } } })) });

export const changeNodesQuery = (change: string) =>
  queryOptions({
    queryKey: ['changes', 'nodes', change],
    queryFn: () => allPages((after) => take(api.GET('/api/v1/changes/{change}/nodes', { params: { path: { change }, query: defined({ after, limit: MOST }) } }))),
  });

/** Of a change on very many nodes: those that need somebody. */
export const changeTroubleQuery = (change: string) =>
  queryOptions({
    queryKey: ['changes', 'trouble', change],
    queryFn: async () => (await take(api.GET('/api/v1/changes/{change}/nodes', { params: { path: { change }, query: { state: 'failed,unreachable', limit: PAGE } } }))).items,
  });

export interface DriftFilter {
  node?: string | undefined;
  object?: string | undefined;
  standing?: boolean | undefined;
  after?: string | undefined;
}

export const driftsQuery = (filter: DriftFilter) =>
  queryOptions({
    queryKey: ['drift', filter],
    queryFn: () => take(api.GET('/api/v1/drift', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

/** How many findings stand: what the list of them says, without its contents. */
export const driftCountQuery = queryOptions({ queryKey: ['drift', 'count'], queryFn: async () => (await take(api.GET('/api/v1/drift', { params: { query: { standing: true, limit: 1 } } }))).total ?? 0 });

export const driftQuery = (id: string) =>
  queryOptions({ queryKey: ['drift', 'one', id], queryFn: () => take(api.GET('/api/v1/drift/{drift}', { params: { path: { drift: id } } })) });

export const driftMergeQuery = (id: string) =>
  queryOptions({ queryKey: ['drift', 'merge', id], queryFn: () => take(api.GET('/api/v1/drift/{drift}/merge', { params: { path: { drift: id } } })), refetchOnWindowFocus: false });

export const enrolTokensQuery = (after: string | undefined) =>
  queryOptions({ queryKey: ['enrol', 'list', after], queryFn: () => take(api.GET('/api/v1/enrolment-tokens', { params: { query: { ...defined({ after }), limit: PAGE } } })), placeholderData: keepPreviousData });

export const enrolTokenQuery = (id: string) =>
  queryOptions({ queryKey: ['enrol', id], queryFn: () => take(api.GET('/api/v1/enrolment-tokens/{token}', { params: { path: { token: id } } })) });

export const usersQuery = (after: string | undefined) =>
  queryOptions({ queryKey: ['users', 'list', after], queryFn: () => take(api.GET('/api/v1/users', { params: { query: { ...defined({ after }), limit: PAGE } } })), placeholderData: keepPreviousData });

export const userGroupsQuery = (after: string | undefined) =>
  queryOptions({ queryKey: ['users', 'groups', after], queryFn: () => take(api.GET('/api/v1/user-groups', { params: { query: { ...defined({ after }), limit: PAGE } } })), placeholderData: keepPreviousData });

export const providersQuery = (after: string | undefined) =>
  queryOptions({ queryKey: ['users', 'providers', after], queryFn: () => take(api.GET('/api/v1/providers', { params: { query: { ...defined({ after }), limit: PAGE } } })), placeholderData: keepPreviousData });

export const identitiesOfQuery = (user: string) => queryOptions({ queryKey: ['users', 'identities', user], queryFn: () => take(api.GET('/api/v1/users/{user}/identities', { params: { path: { user } } })) });

export const controllerQuery = queryOptions({ queryKey: ['controller'], queryFn: () => take(api.GET('/api/v1/controller')) });

export const ownIdentitiesQuery = queryOptions({ queryKey: ['users', 'own-identities'], queryFn: () => take(api.GET('/api/v1/session/identities')) });

export const signInOptionsQuery = queryOptions({ queryKey: ['sign-in-options'], queryFn: () => take(api.GET('/api/v1/sign-in-options')), staleTime: 60_000 });

export const grantsQuery = (after: string | undefined) =>
  queryOptions({ queryKey: ['users', 'grants', after], queryFn: () => take(api.GET('/api/v1/grants', { params: { query: { ...defined({ after }), limit: PAGE } } })), placeholderData: keepPreviousData });

export const userRightsQuery = (user: string) => queryOptions({ queryKey: ['users', 'rights', user], queryFn: () => take(api.GET('/api/v1/users/{user}/rights', { params: { path: { user } } })) });

export const mayQuery = (user: string, action: string, scope: string) =>
  queryOptions({ queryKey: ['users', 'may', user, action, scope], queryFn: () => take(api.GET('/api/v1/users/{user}/may', { params: { path: { user }, query: { action, scope } } })) });

export const apiTokensQuery = (all: boolean, after: string | undefined) =>
  queryOptions({ queryKey: ['tokens', all, after], queryFn: () => take(api.GET('/api/v1/tokens', { params: { query: { all, ...defined({ after }), limit: PAGE } } })), placeholderData: keepPreviousData });

export interface AuditFilter {
  principal?: string | undefined;
  act?: string | undefined;
  object?: string | undefined;
  text?: string | undefined;
  since?: string | undefined;
  until?: string | undefined;
  after?: string | undefined;
}

export const auditQuery = (filter: AuditFilter) =>
  queryOptions({
    queryKey: ['audit', filter],
    queryFn: () => take(api.GET('/api/v1/audit', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

export const auditVerificationQuery = queryOptions({ queryKey: ['audit-verification'], queryFn: () => take(api.GET('/api/v1/audit/verification')), staleTime: Infinity });

export const operationsQuery = (filter: { state?: string | undefined; node?: string | undefined; after?: string | undefined }) =>
  queryOptions({
    queryKey: ['operations', filter],
    queryFn: () => take(api.GET('/api/v1/operations', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

export const operationQuery = (operation: string) =>
  queryOptions({ queryKey: ['operations', 'one', operation], queryFn: () => take(api.GET('/api/v1/operations/{operation}', { params: { path: { operation } } })) });

export const operationNodesQuery = (operation: string) =>
  queryOptions({ queryKey: ['operations', 'nodes', operation], queryFn: () => allPages((after) => take(api.GET('/api/v1/operations/{operation}/nodes', { params: { path: { operation }, query: defined({ after, limit: MOST }) } }))) });

export const operationGroupsQuery = (operation: string) =>
  queryOptions({ queryKey: ['operations', 'groups', operation], queryFn: () => take(api.GET('/api/v1/operations/{operation}/groups', { params: { path: { operation } } })) });

export const runsQuery = (filter: { object?: string | undefined; node?: string | undefined; after?: string | undefined }) =>
  queryOptions({
    queryKey: ['runs', filter],
    queryFn: () => take(api.GET('/api/v1/runs', { params: { query: { ...defined(filter), limit: PAGE } } })),
    placeholderData: keepPreviousData,
  });

export const runQuery = (id: string) =>
  queryOptions({ queryKey: ['runs', 'one', id], queryFn: () => take(api.GET('/api/v1/runs/{run}', { params: { path: { run: id } } })) });

/** Fetches a list that is shown whole, page after page. */
async function allPages<T>(fetchPage: (after: string | undefined) => Promise<{ items: T[]; next?: string | null }>): Promise<T[]> {
  const items: T[] = [];
  let after: string | undefined;
  do {
    const page = await fetchPage(after);
    items.push(...page.items);
    after = page.next ?? undefined;
  } while (after !== undefined);
  return items;
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Leaves out what is undefined or empty, so that it does not stand in the request's address. */
export function defined<T extends object>(values: T): Partial<Defined<T>> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== '')) as Partial<Defined<T>>;
}

// All routes of the dashboard in one place; every page is a chunk of its own. What a page shows (filters, tab, place
// in a list) stands in its URL, so that every state can be linked and Back always works.
import type { QueryClient } from '@tanstack/react-query';
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, Outlet, redirect } from '@tanstack/react-router';
import { root as baseUrl, setSignedOutHandler } from '@/api/client';
import { ApiError } from '@/api/client';
import { rememberKnown } from '@/api/early';
import { setupQuery } from '@/api/queries';
import { ENDED, mayOn, sessionQuery } from '@/api/session';
import type { Kind, Permission } from '@/api/schema';
// Reads what a provider's redirect brought before the router cleans the address.
import '@/features/access/provider';
import { KINDS_OF_OBJECTS } from '@/components/kinds';
import { Frame } from '@/frame/Frame';
import { fetched } from '@/frame/fetched';
import { NoSuchPage, NotFound, PageError, PagePending } from '@/frame/PageStates';

interface Context {
  client: QueryClient;
}

type Search = Record<string, unknown>;

/** Takes these texts from the address; what is not there, or empty, is left out. */
function texts<const K extends string>(search: Search, ...keys: K[]): Partial<Record<K, string>> {
  const found = keys.flatMap((key) => {
    const value = search[key];
    return typeof value === 'string' && value !== '' ? [[key, value]] : typeof value === 'number' ? [[key, String(value)]] : [];
  });
  return Object.fromEntries(found) as Partial<Record<K, string>>;
}

const rootRoute = createRootRouteWithContext<Context>()({ component: Outlet, notFoundComponent: NotFound });

const setup = createRoute({
  getParentRoute: () => rootRoute,
  path: '/setup',
  validateSearch: (search: Search) => texts(search, 'token'),
  component: lazyRouteComponent(() => fetched(import('@/features/access/SetupPage'))),
});

const signIn = createRoute({
  getParentRoute: () => rootRoute,
  path: '/sign-in',
  validateSearch: (search: Search) => texts(search, 'to'),
  component: lazyRouteComponent(() => fetched(import('@/features/access/SignInPage'))),
});

const providerReturn = createRoute({ getParentRoute: () => rootRoute, path: '/sign-in/provider', component: lazyRouteComponent(() => fetched(import('@/features/access/ProviderReturnPage'))) });

const invited = createRoute({ getParentRoute: () => rootRoute, path: '/sign-in/invited', component: lazyRouteComponent(() => fetched(import('@/features/access/InvitedPage'))) });

const secondFactor = createRoute({
  getParentRoute: () => rootRoute,
  path: '/second-factor',
  component: lazyRouteComponent(() => fetched(import('@/features/access/FactorPage'))),
  // Also after a reload: what it sends needs the session's token.
  beforeLoad: async ({ context }) => {
    const session = await context.client.query({ ...sessionQuery, staleTime: 'static' }).catch(() => undefined);
    if (session === undefined) throw redirect({ to: '/sign-in' });
    if (!session.must_enrol) throw redirect({ to: '/account' });
  },
});

/** Everything behind the sign-in. */
const app = createRoute({
  getParentRoute: () => rootRoute,
  id: 'app',
  component: Frame,
  errorComponent: PageError,
  beforeLoad: async ({ context, location }) => {
    try {
      const session = await context.client.query({ ...sessionQuery, staleTime: 'static' });
      if (session.must_enrol) throw redirect({ to: '/second-factor' });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      rememberKnown(false);
      const state = await context.client.query({ ...setupQuery, staleTime: 'static' });
      if (state.is_open) throw redirect({ to: '/setup' });
      throw redirect({ to: '/sign-in', search: location.href === '/' ? {} : { to: location.href } });
    }
  },
});

const overview = createRoute({ getParentRoute: () => app, path: '/', validateSearch: (search: Search) => texts(search, 'look'), component: lazyRouteComponent(() => fetched(import('@/features/overview/OverviewPage'))) });

const nodes = createRoute({
  getParentRoute: () => app,
  path: '/nodes',
  validateSearch: (search: Search) => texts(search, 'query', 'role', 'state', 'config', 'label', 'after', 'look'),
  component: lazyRouteComponent(() => fetched(import('@/features/fleet/NodesPage'))),
});

const NODE_TABS = ['resources', 'drift', 'activity', 'runs', 'facts'] as const;
export type NodeTab = (typeof NODE_TABS)[number];
const node = createRoute({
  getParentRoute: () => app,
  path: '/nodes/$node',
  validateSearch: (search: Search): { tab?: NodeTab } => {
    const tab = NODE_TABS.find((each) => each === search.tab);
    return tab === undefined ? {} : { tab };
  },
  component: lazyRouteComponent(() => fetched(import('@/features/fleet/NodePage'))),
});

const pastNode = createRoute({ getParentRoute: () => app, path: '/nodes/$node/past', validateSearch: (search: Search) => texts(search, 'at', 'with'), component: lazyRouteComponent(() => fetched(import('@/features/past/PastNodePage'))) });

const pastFleet = createRoute({ getParentRoute: () => app, path: '/past', validateSearch: (search: Search) => texts(search, 'at', 'with'), component: lazyRouteComponent(() => fetched(import('@/features/past/PastFleetPage'))) });

const policies = createRoute({ getParentRoute: () => app, path: '/policies', component: lazyRouteComponent(() => fetched(import('@/features/fleet/PoliciesPage'))) });

const roles = createRoute({ getParentRoute: () => app, path: '/roles', component: lazyRouteComponent(() => fetched(import('@/features/fleet/RolesPage'))) });

const role = createRoute({
  getParentRoute: () => app,
  path: '/roles/$role',
  validateSearch: (search: Search) => texts(search, 'tab', 'after', 'look'),
  component: lazyRouteComponent(() => fetched(import('@/features/fleet/RolePage'))),
});

const pastRole = createRoute({ getParentRoute: () => app, path: '/roles/$role/past', validateSearch: (search: Search) => texts(search, 'at', 'with'), component: lazyRouteComponent(() => fetched(import('@/features/past/PastRolePage'))) });

const compareRole = createRoute({
  getParentRoute: () => app,
  path: '/roles/$role/compare',
  validateSearch: (search: Search) => texts(search, 'show'),
  component: lazyRouteComponent(() => fetched(import('@/features/takeover/ComparePage'))),
});

const config = createRoute({
  getParentRoute: () => app,
  path: '/config',
  validateSearch: (search: Search) => texts(search, 'kind', 'scope', 'set', 'query', 'after'),
  component: lazyRouteComponent(() => fetched(import('@/features/host/ObjectsPage'))),
});

const newObject = createRoute({
  getParentRoute: () => app,
  path: '/config/new',
  validateSearch: (search: Search): { kind: Kind; scope?: string } => ({
    kind: KINDS_OF_OBJECTS.find((kind) => kind === search.kind) ?? 'cron',
    ...texts(search, 'scope'),
  }),
  component: lazyRouteComponent(() => fetched(import('@/features/host/NewObjectPage'))),
});

const timeTravel = createRoute({ getParentRoute: () => app, path: '/config/history', validateSearch: (search: Search) => texts(search, 'from', 'to', 'scope'), component: lazyRouteComponent(() => fetched(import('@/features/host/TimeTravelPage'))) });

const deletedObjects = createRoute({ getParentRoute: () => app, path: '/config/deleted', validateSearch: (search: Search) => texts(search, 'kind', 'scope', 'name', 'after'), component: lazyRouteComponent(() => fetched(import('@/features/host/DeletedPage'))) });

const importManifest = createRoute({ getParentRoute: () => app, path: '/config/import', component: lazyRouteComponent(() => fetched(import('@/features/host/ImportPage'))) });

const OBJECT_TABS = ['edit', 'nodes', 'uses', 'manifest', 'history', 'runs'] as const;
export type ObjectTab = (typeof OBJECT_TABS)[number];
const object = createRoute({
  getParentRoute: () => app,
  path: '/config/$object',
  validateSearch: (search: Search): { tab?: ObjectTab; from?: string; to?: string } => {
    const tab = OBJECT_TABS.find((each) => each === search.tab);
    return { ...(tab === undefined ? {} : { tab }), ...texts(search, 'from', 'to') };
  },
  component: lazyRouteComponent(() => fetched(import('@/features/host/ObjectPage'))),
});

const changes = createRoute({
  getParentRoute: () => app,
  path: '/changes',
  validateSearch: (search: Search) => texts(search, 'state', 'scope', 'kind', 'author', 'after'),
  component: lazyRouteComponent(() => fetched(import('@/features/change/ChangesPage'))),
});

const change = createRoute({ getParentRoute: () => app, path: '/changes/$change', component: lazyRouteComponent(() => fetched(import('@/features/change/ChangePage'))) });

const approvals = createRoute({ getParentRoute: () => app, path: '/approvals', validateSearch: (search: Search) => texts(search, 'show'), component: lazyRouteComponent(() => fetched(import('@/features/approval/ApprovalsPage'))) });

const drift = createRoute({
  getParentRoute: () => app,
  path: '/drift',
  validateSearch: (search: Search) => texts(search, 'show', 'node', 'after'),
  component: lazyRouteComponent(() => fetched(import('@/features/drift/DriftPage'))),
});

const oneDrift = createRoute({ getParentRoute: () => app, path: '/drift/$drift', component: lazyRouteComponent(() => fetched(import('@/features/drift/OneDriftPage'))) });
const mergeDrift = createRoute({ getParentRoute: () => app, path: '/drift/$drift/merge', component: lazyRouteComponent(() => fetched(import('@/features/drift/MergePage'))) });

const sources = createRoute({ getParentRoute: () => app, path: '/sources', component: lazyRouteComponent(() => fetched(import('@/features/source/SourcesPage'))) });

const source = createRoute({ getParentRoute: () => app, path: '/sources/$source', component: lazyRouteComponent(() => fetched(import('@/features/source/SourcePage'))) });

const runs = createRoute({
  getParentRoute: () => app,
  path: '/runs',
  validateSearch: (search: Search) => texts(search, 'object', 'node', 'after'),
  component: lazyRouteComponent(() => fetched(import('@/features/job/RunsPage'))),
});

const run = createRoute({ getParentRoute: () => app, path: '/runs/$run', component: lazyRouteComponent(() => fetched(import('@/features/job/RunPage'))) });

const operations = createRoute({
  getParentRoute: () => app,
  path: '/operations',
  validateSearch: (search: Search) => texts(search, 'state', 'node', 'after'),
  component: lazyRouteComponent(() => fetched(import('@/features/operation/OperationsPage'))),
});

const newOperation = createRoute({
  getParentRoute: () => app,
  path: '/operations/new',
  validateSearch: (search: Search) => texts(search, 'on', 'script'),
  component: lazyRouteComponent(() => fetched(import('@/features/operation/NewOperationPage'))),
  beforeLoad: needs('run'),
});

const operation = createRoute({
  getParentRoute: () => app,
  path: '/operations/$operation',
  validateSearch: (search: Search): { view?: 'grouped'; node?: string; line?: number } => ({
    ...(search.view === 'grouped' ? { view: 'grouped' as const } : {}),
    ...texts(search, 'node'),
    ...(Number.isInteger(Number(search.line)) && Number(search.line) > 0 ? { line: Number(search.line) } : {}),
  }),
  component: lazyRouteComponent(() => fetched(import('@/features/operation/OperationPage'))),
});

const enrol = createRoute({ getParentRoute: () => app, path: '/enrol', validateSearch: (search: Search) => texts(search, 'after', 'token'), component: lazyRouteComponent(() => fetched(import('@/features/enrol/EnrolPage'))), beforeLoad: needs('manage_nodes') });

const tokens = createRoute({
  getParentRoute: () => app,
  path: '/tokens',
  validateSearch: (search: Search) => texts(search, 'show', 'after'),
  component: lazyRouteComponent(() => fetched(import('@/features/access/TokensPage'))),
});

const users = createRoute({ getParentRoute: () => app, path: '/users', validateSearch: (search: Search) => texts(search, 'show', 'user', 'after'), component: lazyRouteComponent(() => fetched(import('@/features/access/UsersPage'))), beforeLoad: needs('manage_users') });

const mail = createRoute({ getParentRoute: () => app, path: '/mail', validateSearch: (search: Search) => texts(search, 'show', 'state', 'after'), component: lazyRouteComponent(() => fetched(import('@/features/mail/MailPage'))), beforeLoad: needs('manage_users') });

const account = createRoute({ getParentRoute: () => app, path: '/account', component: lazyRouteComponent(() => fetched(import('@/features/access/AccountPage'))) });

const device = createRoute({ getParentRoute: () => app, path: '/device', validateSearch: (search: Search) => texts(search, 'code'), component: lazyRouteComponent(() => fetched(import('@/features/access/DevicePage'))) });

const controller = createRoute({ getParentRoute: () => app, path: '/controller', component: lazyRouteComponent(() => fetched(import('@/features/controller/ControllerPage'))), beforeLoad: needs('view', 'fleet') });

const audit = createRoute({
  getParentRoute: () => app,
  path: '/audit',
  validateSearch: (search: Search) => texts(search, 'principal', 'act', 'object', 'text', 'since', 'until', 'after'),
  component: lazyRouteComponent(() => fetched(import('@/features/audit/AuditPage'))),
  beforeLoad: needs('view_audit'),
});

/** Says on the page itself that a permission is missing, instead of showing a list of failed requests. */
function needs(permission: Permission, over?: 'fleet') {
  return async ({ context }: { context: Context }): Promise<void> => {
    const session = await context.client.query({ ...sessionQuery, staleTime: 'static' });
    if (mayOn(session, permission, over)) return;
    const detail = `You are signed in as ${session.preset}. An administrator can give you another preset under Users.`;
    throw new ApiError({ type: '/problems/forbidden', code: 'forbidden', title: 'This page needs a permission that you lack', status: 403, detail });
  };
}

const nothing = createRoute({ getParentRoute: () => app, path: '$', component: NoSuchPage });

const tree = rootRoute.addChildren([
  setup,
  signIn,
  providerReturn,
  invited,
  secondFactor,
  app.addChildren([overview, pastFleet, nodes, node, pastNode, policies, roles, role, pastRole, compareRole, config, newObject, importManifest, timeTravel, deletedObjects, object, changes, change, approvals, drift, oneDrift, mergeDrift, sources, source, runs, run, operations, newOperation, operation, enrol, tokens, users, mail, account, device, controller, audit, nothing]),
]);

export function makeRouter(client: QueryClient) {
  const router = createRouter({
    routeTree: tree,
    context: { client },
    basepath: baseUrl.pathname,
    defaultPreload: 'intent',
    defaultPreloadStaleTime: 0,
    defaultPendingMs: 150,
    defaultPendingComponent: PagePending,
    defaultErrorComponent: PageError,
    scrollRestoration: true,
  });
  setSignedOutHandler(() => {
    // Whoever was signed in is told why the page went.
    if (client.getQueryData(sessionQuery.queryKey) !== undefined) sessionStorage.setItem(ENDED, '1');
    client.removeQueries({ queryKey: ['session'] });
    void router.invalidate();
  });
  return router;
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}

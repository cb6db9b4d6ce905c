// A new object takes no name that another has: the page says so with a way there, and what it sends says that it is new.
import { render, screen, waitFor } from '@testing-library/react';
import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { createMemoryHistory, createRootRoute, createRoute, createRouter, RouterProvider } from '@tanstack/react-router';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { sessionQuery } from '@/api/session';
import { blank } from './draft';
import { draftOf, ObjectEditor } from './ObjectEditor';

const original = { ...blank('link', 'fleet'), name: 'motd' };

beforeEach(() => {
  localStorage.clear();
  // The test's document has no fonts, which a field that grows with its text waits for.
  Object.defineProperty(document, 'fonts', { value: new EventTarget(), configurable: true });
});
afterEach(() => { vi.unstubAllGlobals(); });

it('says that there is one already, with a way to it, and does not plan', async () => {
  vi.stubGlobal('fetch', vi.fn(async (input: Request) => Promise.resolve(Response.json(input.url.endsWith('/check/spec') ? { problems: [], next_runs: [], standing: { id: 'a1', revision: 3 } } : { items: [] }))));
  const client = new QueryClient({ defaultOptions: { queries: { retry: false, staleTime: Infinity } } });
  client.setQueryData(sessionQuery.queryKey, { permissions: ['view', 'change'], rights: [{ scopes: ['fleet'], permissions: ['view', 'change'] }] } as never);
  const top = createRootRoute();
  const page = createRoute({ getParentRoute: () => top, path: '/', component: () => <ObjectEditor draftKey="new-link" original={original} /> });
  const router = createRouter({ routeTree: top.addChildren([page]), history: createMemoryHistory() });
  render(<MantineProvider><QueryClientProvider client={client}><RouterProvider router={router as never} /></QueryClientProvider></MantineProvider>);
  await waitFor(() => { expect(screen.getAllByText(/There is link motd \(fleet\) already/).length).toBeGreaterThan(0); }, { timeout: 5000 });
  expect(screen.getAllByRole('link', { name: 'Open it' })[0]?.getAttribute('href')).toContain('/config/a1');
  expect(screen.queryByText(/It can be saved as it is/)).toBeNull();
  expect(screen.getByRole('button', { name: /^Plan/ }).getAttribute('aria-disabled')).toBe('true');
});

it('a new object and one for another scope are made from nothing; an edit from its revision', () => {
  expect(draftOf(original, original, undefined, true)).toEqual({ put: original, base: 0 });
  const elsewhere = { ...original, scope: 'role:app' };
  expect(draftOf(elsewhere, original, 3, false)).toEqual({ put: elsewhere, base: 0 });
  const renamed = { ...original, name: 'issue' };
  expect(draftOf(renamed, original, 3, false)).toEqual({ put: renamed, base: 3, previous_name: 'motd' });
});

// What stood at a moment. The past doesn't move, but its end does: the newest moments are asked for again.
import { queryOptions } from '@tanstack/react-query';
import { api, take } from '@/api/client';

const STALE_MS = 30_000;

export const pastFleetQuery = (at: string) => queryOptions({ queryKey: ['past', at], queryFn: () => take(api.GET('/api/v1/past', { params: { query: { at } } })), staleTime: STALE_MS, retry: false });

export const pastNodeQuery = (node: string, at: string) =>
  queryOptions({ queryKey: ['past', at, node], queryFn: () => take(api.GET('/api/v1/nodes/{node}/past', { params: { path: { node }, query: { at } } })), staleTime: STALE_MS, retry: false });

export const pastRoleQuery = (role: string, at: string) =>
  queryOptions({ queryKey: ['past', at, 'role', role], queryFn: () => take(api.GET('/api/v1/roles/{role}/past', { params: { path: { role }, query: { at } } })), staleTime: STALE_MS, retry: false });

interface Between {
  from: string;
  to: string | undefined;
  role: string | undefined;
  node: string | undefined;
}

export const pastDiffQuery = ({ from, to, role, node }: Between) =>
  queryOptions({
    queryKey: ['past', 'diff', from, to, role, node],
    queryFn: () => take(api.GET('/api/v1/past/diff', { params: { query: { from, ...(to === undefined ? {} : { to }), ...(role === undefined ? {} : { role }), ...(node === undefined ? {} : { node }) } } })),
    staleTime: STALE_MS,
    retry: false,
  });

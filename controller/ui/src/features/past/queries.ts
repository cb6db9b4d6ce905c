// What stood at a moment. The past doesn't move, but its end does: the newest moments are asked for again.
import { queryOptions } from '@tanstack/react-query';
import { api, take } from '@/api/client';

const STALE_MS = 30_000;

export const pastFleetQuery = (at: string) => queryOptions({ queryKey: ['past', at], queryFn: () => take(api.GET('/api/v1/past', { params: { query: { at } } })), staleTime: STALE_MS, retry: false });

export const pastNodeQuery = (node: string, at: string) =>
  queryOptions({ queryKey: ['past', at, node], queryFn: () => take(api.GET('/api/v1/nodes/{node}/past', { params: { path: { node }, query: { at } } })), staleTime: STALE_MS, retry: false });

// What approvals, protections and freezes ask; under the key of changes, whose events make them stale.
import { queryOptions } from '@tanstack/react-query';
import { api, take } from '@/api/client';

export const approvalsQuery = queryOptions({ queryKey: ['changes', 'approvals'], queryFn: () => take(api.GET('/api/v1/approvals')) });

export const protectionsQuery = queryOptions({ queryKey: ['changes', 'protections'], queryFn: () => take(api.GET('/api/v1/protections')) });

export const freezesQuery = queryOptions({ queryKey: ['changes', 'freezes'], queryFn: () => take(api.GET('/api/v1/freezes')) });

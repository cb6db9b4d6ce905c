// What approvals, protections and freezes ask.
import { queryOptions } from '@tanstack/react-query';
import { api, take } from '@/api/client';

export const approvalsQuery = queryOptions({ queryKey: ['approvals'], queryFn: () => take(api.GET('/api/v1/approvals')) });

export const protectionsQuery = queryOptions({ queryKey: ['protections'], queryFn: () => take(api.GET('/api/v1/protections')) });

export const freezesQuery = queryOptions({ queryKey: ['freezes'], queryFn: () => take(api.GET('/api/v1/freezes')) });

// What the pages of mail ask.
import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, take } from '@/api/client';

export const mailQuery = queryOptions({ queryKey: ['mail'], queryFn: () => take(api.GET('/api/v1/mail')) });

export const mailAccountQuery = queryOptions({ queryKey: ['mail', 'account'], queryFn: () => take(api.GET('/api/v1/session/mail')) });

export const morningQuery = queryOptions({ queryKey: ['mail', 'morning'], queryFn: () => take(api.GET('/api/v1/session/mail/morning')), gcTime: 0, staleTime: 0 });

export const deliveriesQuery = (state: string | undefined, after: string | undefined) =>
  queryOptions({
    queryKey: ['mail', 'deliveries', state, after],
    queryFn: () => take(api.GET('/api/v1/mail/deliveries', { params: { query: { limit: 50, ...(state === undefined ? {} : { state }), ...(after === undefined ? {} : { after }) } } })),
    placeholderData: keepPreviousData,
  });

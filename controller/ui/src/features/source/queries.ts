// What the pages of git sources ask.
import { queryOptions } from '@tanstack/react-query';
import { api, take } from '@/api/client';

export const sourcesQuery = queryOptions({ queryKey: ['sources'], queryFn: () => take(api.GET('/api/v1/sources')) });

/** While it is looked at it is asked again: a look that finds nothing new makes no event. */
export const sourceQuery = (source: string) =>
  queryOptions({
    queryKey: ['sources', 'one', source],
    queryFn: () => take(api.GET('/api/v1/sources/{source}', { params: { path: { source } } })),
    refetchInterval: (query) => (query.state.data?.is_syncing === true ? 1000 : false),
  });

export const objectSourcesQuery = (object: string) =>
  queryOptions({ queryKey: ['sources', 'object', object], queryFn: () => take(api.GET('/api/v1/objects/{object}/sources', { params: { path: { object } } })) });

// Asks the controller what is wrong with a draft while it is being written, and when a cron job would run.
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import type { Finding, ObjectSpec, SpecCheck } from '@/api/schema';

export interface Check {
  /** The last answer; undefined before the first. */
  answer: SpecCheck | undefined;
  isAsking: boolean;
  error: unknown;
  /** What was found about one field. */
  of: (field: string) => Finding[];
  /** The errors about one field as one text, for an input. */
  text: (field: string) => string | undefined;
}

const AFTER_MS = 300;

export function useCheck(spec: ObjectSpec, isWorthwhile: boolean): Check {
  const [settled] = useDebouncedValue(spec, AFTER_MS);
  const query = useQuery({
    queryKey: ['check', settled],
    queryFn: () => take(api.POST('/api/v1/check/spec', { body: settled })),
    placeholderData: keepPreviousData,
    enabled: isWorthwhile,
    gcTime: 60_000,
    retry: false,
  });
  const of = (field: string): Finding[] => query.data?.problems.filter((finding) => finding.field === field || finding.field.startsWith(`${field}.`)) ?? [];
  return {
    answer: query.data,
    isAsking: query.isFetching || settled !== spec,
    error: query.error,
    of,
    text: (field) => {
      const errors = of(field).filter((finding) => finding.severity === 'error');
      return errors.length === 0 ? undefined : errors.map((finding) => finding.message).join(' ');
    },
  };
}

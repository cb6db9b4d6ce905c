// What the shell's parser finds in a text while it is being written.
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { Finding } from '@/api/schema';
import { parseShell, type Dialect } from './shell';

const AFTER_MS = 250;
// Above this a parse takes longer than the pause between two keys.
const MOST_CHARACTERS = 400_000;

export function useShell(text: string, dialect: Dialect | undefined): readonly Finding[] {
  const [settled] = useDebouncedValue(text, AFTER_MS);
  const isAsked = dialect !== undefined && settled.trim() !== '' && settled.length <= MOST_CHARACTERS;
  const query = useQuery({
    queryKey: ['shell', dialect, settled],
    queryFn: async () => (dialect === undefined ? null : ((await parseShell(settled, dialect)) ?? null)),
    enabled: isAsked,
    placeholderData: keepPreviousData,
    staleTime: Infinity,
    gcTime: 60_000,
    networkMode: 'always',
  });
  return !isAsked || query.data == null ? NONE : [query.data];
}

const NONE: readonly Finding[] = [];

// The waves that a strategy would make of a change, as the controller divides its nodes.
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import type { PlannedWave, RolloutStrategy } from '@/api/schema';
import { number, plural } from '@/ui/plural';

// While somebody types, the last stroke asks.
const TYPING_MS = 300;

export function useWaves(change: string, strategy: RolloutStrategy | undefined): { waves: PlannedWave[] | undefined; error: unknown } {
  const [settled] = useDebouncedValue(strategy === undefined ? '' : JSON.stringify(strategy), TYPING_MS);
  const found = useQuery({
    queryKey: ['waves', change, settled],
    queryFn: () => take(api.POST('/api/v1/changes/{change}/waves', { params: { path: { change } }, body: JSON.parse(settled) as RolloutStrategy })),
    enabled: settled !== '',
    placeholderData: keepPreviousData,
    retry: false,
  });
  return { waves: strategy === undefined ? undefined : found.data, error: found.error };
}

const NAMED = 3;
const TOLD = 6;

/** Returns "web-1, then 12, then 13 nodes"; of a limit only what is within. */
export function waveWords(all: readonly PlannedWave[]): string {
  const waves = all.filter((wave) => wave.is_beyond !== true);
  const told = waves.slice(0, TOLD).map((wave, index) => {
    if (index === 0 && wave.count <= NAMED) return wave.nodes.map((node) => node.name).join(', ');
    const isLast = index === Math.min(waves.length, TOLD) - 1;
    return index === 0 || isLast ? plural(wave.count, 'node') : number(wave.count);
  });
  return `${told.join(', then ')}${waves.length > TOLD ? `, and ${waves.length - TOLD} more waves` : ''}`;
}

/** Returns how many nodes wait beyond the limit. */
export function beyond(waves: readonly PlannedWave[] | undefined): number {
  return (waves ?? []).filter((wave) => wave.is_beyond === true).reduce((sum, wave) => sum + wave.count, 0);
}

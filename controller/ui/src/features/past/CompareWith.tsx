// Beside the bar of time travel: the other moment. Empty, nothing is compared.
import { Button, TextInput } from '@mantine/core';
import { fromInput, toInput } from '@/ui/moment';

interface Props {
  at: string;
  with_: string | undefined;
  onChange: (other: string | undefined) => void;
}

/** The word for the moment that moves on: the last look at the nodes. */
export const NOW = 'now';

export function CompareWith({ at, with_, onChange }: Props) {
  const isNow = with_ === NOW;
  const isEarlier = with_ !== undefined && !isNow && Date.parse(with_) < Date.parse(at);
  return (
    <div className="filters" role="search" aria-label="Compare" style={{ alignItems: 'flex-end' }}>
      <TextInput type="datetime-local" label="Compare with" size="xs" value={isNow ? '' : toInput(with_)} onChange={(event) => { onChange(fromInput(event.currentTarget.value)); }} description={isEarlier ? 'The earlier of the two stands first.' : undefined} />
      <Button size="compact-xs" variant={isNow ? 'light' : 'subtle'} aria-pressed={isNow} onClick={() => { onChange(isNow ? undefined : NOW); }}>With now</Button>
      {with_ !== undefined && <Button size="compact-xs" variant="subtle" onClick={() => { onChange(undefined); }}>Don’t compare</Button>}
    </div>
  );
}

/** The two moments in their order; `to` is left out for now. */
export function ordered(at: string, other: string): { from: string; to: string | undefined } {
  if (other === NOW) return { from: at, to: undefined };
  return Date.parse(other) < Date.parse(at) ? { from: other, to: at } : { from: at, to: other };
}

// Chooses the moment to look at: a field, steps from there, and leaps from now.
import { Button, TextInput } from '@mantine/core';
import { Notice } from '@/ui/Notice';
import { Time } from '@/ui/Time';
import { AGO, fromInput, HOUR, toInput } from '@/ui/moment';
import { useNow } from '@/ui/useNow';

const STEPS = [['An hour before', -HOUR], ['An hour after', HOUR]] as const;

export function Moment({ at, onGo }: { at: string | undefined; onGo: (at: string | undefined) => void }) {
  const now = useNow();
  const from = at === undefined ? NaN : Date.parse(at);
  return (
    <div className="filters" role="search" style={{ alignItems: 'flex-end' }}>
      <TextInput type="datetime-local" label="At" size="xs" value={toInput(at)} onChange={(event) => { onGo(fromInput(event.currentTarget.value)); }} />
      {!Number.isNaN(from) && STEPS.map(([word, ms]) => <Button key={word} size="compact-xs" variant="default" disabled={from + ms > now} onClick={() => { onGo(new Date(from + ms).toISOString()); }}>{word}</Button>)}
      {AGO.map(([word, ms]) => <Button key={word} size="compact-xs" variant="subtle" onClick={() => { onGo(new Date(Date.now() - ms).toISOString()); }}>{word}</Button>)}
    </div>
  );
}

/** Says so when the moment lies before what is kept of nodes. */
export function KeptNotice({ at, since }: { at: string; since: string | null | undefined }) {
  if (since != null && Date.parse(since) <= Date.parse(at)) return null;
  return (
    <Notice title="How nodes stood then is not kept">
      {since == null ? 'It is kept from now on.' : <>It is kept since <Time at={since} absolute />.</>} Objects, changes and what was changed by hand are known for longer.
    </Notice>
  );
}

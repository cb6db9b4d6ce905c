// Chooses when a plan is applied and, for administrators, what it goes over.
import { Checkbox, TextInput } from '@mantine/core';
import { useSession } from '@/api/session';
import type { Change } from '@/api/schema';
import { localZone } from '@/ui/time';
import { useNow } from '@/ui/useNow';
import { frozenNow, needsApproval, type Terms } from './terms';

export function TermsChoice({ change, terms, onChange }: { change: Change; terms: Terms; onChange: (next: Terms) => void }) {
  const now = useNow();
  const mayOverride = useSession().permissions.includes('protect');
  const isWaiting = mayOverride && needsApproval(change);
  const isFrozen = mayOverride && frozenNow(change, now) !== undefined;
  const set = (next: Partial<Terms>): void => { onChange({ ...terms, ...next }); };
  return (
    <div className="stack" style={{ maxWidth: 420 }}>
      <TextInput size="xs" label="When" description={`Your local time (${localZone()}); at once when it is left empty`} type="datetime-local" value={terms.at} onChange={(event) => { set({ at: event.currentTarget.value }); }} />
      {isWaiting && <Checkbox size="xs" label="Go on without the approval; this is audited and shown" checked={terms.overProtection} onChange={(event) => { set({ overProtection: event.currentTarget.checked }); }} />}
      {isFrozen && <Checkbox size="xs" label="Go on in the freeze; this is audited and shown" checked={terms.overFreeze} onChange={(event) => { set({ overFreeze: event.currentTarget.checked }); }} />}
      {(terms.overProtection || terms.overFreeze) && <TextInput size="xs" label="Why you override it" value={terms.reason} onChange={(event) => { set({ reason: event.currentTarget.value }); }} maxLength={500} required />}
    </div>
  );
}

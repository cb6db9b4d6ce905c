// Identities and open invitations of somebody.
import { Button } from '@mantine/core';
import type { Identity } from '@/api/schema';
import { Time } from '@/ui/Time';

export function IdentitiesList({ identities, onUnlink }: { identities: readonly Identity[]; onUnlink: (identity: Identity) => void }) {
  return (
    <ul className="card-list">
      {identities.map((identity) => (
        <li key={identity.id}>
          <div className="session">
            <span className="grow"><strong>{identity.provider}</strong> <span className="dim">{identity.subject == null ? 'invited' : identity.shown === '' ? '' : `as ${identity.shown}`}</span>{identity.subject != null && <span className="dim small mono"> {identity.subject}</span>}</span>
            <span className="dim small">{identity.subject == null ? <>until <Time at={identity.invited_until} /></> : identity.last_used_at == null ? 'never used' : <>used <Time at={identity.last_used_at} /></>}</span>
            <Button size="compact-xs" variant="default" aria-label={`${identity.subject == null ? 'Withdraw the invitation to' : 'Unlink'} ${identity.provider}`} onClick={() => { onUnlink(identity); }}>{identity.subject == null ? 'Withdraw' : 'Unlink'}</Button>
          </div>
        </li>
      ))}
    </ul>
  );
}

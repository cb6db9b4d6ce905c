// Security keys, one a line: what they are called, when they were made and used, and what is wrong with them.
import { Button } from '@mantine/core';
import type { SecurityKey } from '@/api/schema';
import { Notice } from '@/ui/Notice';
import { Time } from '@/ui/Time';

interface Props {
  keys: readonly SecurityKey[];
  onRemove: (key: SecurityKey) => void;
  /** Absent where keys are somebody else's. */
  onRename?: (key: SecurityKey) => void;
}

export function KeysTable({ keys, onRemove, onRename }: Props) {
  return (
    <ul className="card-list" aria-label="Security keys">
      {keys.map((key) => (
        <li key={key.id}>
          <div className="session">
            <span className="grow"><strong>{key.name}</strong> <span className="chip">{key.is_passkey ? 'passkey' : 'second factor'}</span></span>
            <span className="dim small">made <Time at={key.created_at} /> · {key.last_used_at == null ? 'never used' : <>used <Time at={key.last_used_at} /></>}</span>
            {onRename !== undefined && <Button size="compact-xs" variant="default" aria-label={`Rename ${key.name}`} onClick={() => { onRename(key); }}>Rename</Button>}
            <Button size="compact-xs" variant="default" aria-label={`Remove ${key.name}`} onClick={() => { onRemove(key); }}>Remove</Button>
          </div>
          {key.suspect_since != null && <Notice tone="warn" title="There may be a copy of this key.">Its counter went back <Time at={key.suspect_since} />, and that answer was refused. If it is yours alone, remove it and register it anew; otherwise remove it, and look who signed in.</Notice>}
          {key.made_for != null && <Notice tone="warn">It was registered for <code>{key.made_for}</code>, which is not the dashboard’s host name any more: it doesn’t work. Remove it, and register it anew.</Notice>}
        </li>
      ))}
    </ul>
  );
}

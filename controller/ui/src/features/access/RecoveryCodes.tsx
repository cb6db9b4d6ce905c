// Recovery codes, shown this once.
import { Button } from '@mantine/core';
import { Copy } from '@/ui/Copy';
import { Notice } from '@/ui/Notice';

export function RecoveryCodes({ codes, onDone }: { codes: readonly string[]; onDone: () => void }) {
  return (
    <div className="stack">
      <Notice tone="good" title="Keep these recovery codes. This is the only time that they are shown.">Each serves once instead of the authenticator or the key, for the day that it is lost.</Notice>
      <ul className="recovery-codes" aria-label="Recovery codes">{codes.map((code) => <li key={code}><code>{code}</code></li>)}</ul>
      <div className="row"><Copy text={codes.join('\n')} label="Copy all codes" /><Button onClick={onDone}>I have kept them</Button></div>
    </div>
  );
}

// Copies a text and says that it did.
import { useState } from 'react';
import { ActionIcon, Tooltip } from '@mantine/core';
import { Icon } from './Icon';

export function Copy({ text, label }: { text: string; label: string }) {
  const [said, setSaid] = useState<string>();
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid('Copied');
    } catch {
      setSaid('Copying is not allowed here: select the text and press Ctrl-C');
    }
    window.setTimeout(() => { setSaid(undefined); }, 1_800);
  };
  return (
    <Tooltip label={said ?? label} opened={said === undefined ? undefined : true}>
      <ActionIcon variant="subtle" color="gray" aria-label={label} onClick={() => void copy()}>
        <Icon name={said === 'Copied' ? 'check' : 'copy'} />
        <span className="sr" aria-live="polite">{said}</span>
      </ActionIcon>
    </Tooltip>
  );
}

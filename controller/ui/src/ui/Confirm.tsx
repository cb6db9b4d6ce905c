// Asks before something is done that has no way back by itself, says what it does and, where that is kept, asks why.
import { useState } from 'react';
import { Button, Group, Modal } from '@mantine/core';
import { ActionButton } from './ActionButton';
import { Failure } from './Notice';
import { WhyField } from './WhyField';

interface Props {
  onClose: () => void;
  title: string;
  verb: string;
  children: React.ReactNode;
  /** Why stands in the audit; empty where nobody said, or is asked. */
  onConfirm: (why: string) => void;
  asksWhy?: boolean;
  isPending: boolean;
  error?: unknown;
}

export function Confirm({ onClose, title, verb, children, onConfirm, asksWhy = false, isPending, error }: Props) {
  const [why, setWhy] = useState('');
  return (
    <Modal opened onClose={onClose} title={title} centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          onConfirm(why.trim());
        }}
      >
        <div>{children}</div>
        {asksWhy && <WhyField value={why} onChange={setWhy} />}
        <Failure error={error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose} data-autofocus>Keep it</Button>
          <ActionButton color="red" type="submit" loading={isPending}>{verb}</ActionButton>
        </Group>
      </form>
    </Modal>
  );
}

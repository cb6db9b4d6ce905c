// Asks for the name before something is destroyed, shows what it will touch and, where that is kept, asks why.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { ActionButton } from './ActionButton';
import { Failure } from './Notice';
import { WhyField } from './WhyField';

interface Props {
  opened: boolean;
  onClose: () => void;
  title: string;
  name: string;
  verb: string;
  children: React.ReactNode;
  /** Why stands in the audit; empty where nobody said, or is asked. */
  onConfirm: (why: string) => void;
  asksWhy?: boolean;
  isPending: boolean;
  error?: unknown;
}

export function ConfirmByName({ opened, onClose, title, name, verb, children, onConfirm, asksWhy = false, isPending, error }: Props) {
  const [typed, setTyped] = useState('');
  const [why, setWhy] = useState('');
  const matches = typed === name;
  return (
    <Modal opened={opened} onClose={() => { setTyped(''); setWhy(''); onClose(); }} title={title} centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (matches) onConfirm(why.trim());
        }}
      >
        <div>{children}</div>
        <TextInput label={<>Type <code>{name}</code> to confirm</>} value={typed} onChange={(event) => { setTyped(event.currentTarget.value); }} autoComplete="off" data-autofocus />
        {asksWhy && <WhyField value={why} onChange={setWhy} />}
        <Failure error={error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Keep it</Button>
          <ActionButton color="red" type="submit" refusal={matches ? undefined : `Type ${name} above first.`} loading={isPending}>{verb}</ActionButton>
        </Group>
      </form>
    </Modal>
  );
}

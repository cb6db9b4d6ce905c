// Asks for the name before something is destroyed, and shows what it will touch.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { ActionButton } from './ActionButton';
import { Failure } from './Notice';

interface Props {
  opened: boolean;
  onClose: () => void;
  title: string;
  name: string;
  verb: string;
  children: React.ReactNode;
  onConfirm: () => void;
  isPending: boolean;
  error?: unknown;
}

export function ConfirmByName({ opened, onClose, title, name, verb, children, onConfirm, isPending, error }: Props) {
  const [typed, setTyped] = useState('');
  const matches = typed === name;
  return (
    <Modal opened={opened} onClose={() => { setTyped(''); onClose(); }} title={title} centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (matches) onConfirm();
        }}
      >
        <div>{children}</div>
        <TextInput label={<>Type <code>{name}</code> to confirm</>} value={typed} onChange={(event) => { setTyped(event.currentTarget.value); }} autoComplete="off" data-autofocus />
        <Failure error={error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose}>Keep it</Button>
          <ActionButton color="red" type="submit" refusal={matches ? undefined : `Type ${name} above first.`} loading={isPending}>{verb}</ActionButton>
        </Group>
      </form>
    </Modal>
  );
}

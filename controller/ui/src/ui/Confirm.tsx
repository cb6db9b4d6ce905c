// Asks before something is done that has no way back by itself, and says what it does.
import { Button, Group, Modal } from '@mantine/core';
import { Failure } from './Notice';

interface Props {
  onClose: () => void;
  title: string;
  verb: string;
  children: React.ReactNode;
  onConfirm: () => void;
  isPending: boolean;
  error?: unknown;
}

export function Confirm({ onClose, title, verb, children, onConfirm, isPending, error }: Props) {
  return (
    <Modal opened onClose={onClose} title={title} centered>
      <div className="stack">
        <div>{children}</div>
        <Failure error={error} />
        <Group justify="flex-end" gap={8}>
          <Button variant="default" onClick={onClose} data-autofocus>Keep it</Button>
          <Button color="red" onClick={onConfirm} loading={isPending}>{verb}</Button>
        </Group>
      </div>
    </Modal>
  );
}

// Sends a test, and shows what the server answers.
import { useState } from 'react';
import { Button, Group, Modal, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, fieldProblem, take } from '@/api/client';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { mailAccountQuery } from './queries';

export function TestDialog({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const own = useQuery(mailAccountQuery).data?.address ?? '';
  const [typed, setTyped] = useState<string>();
  const to = typed ?? own;
  const send = useMutation({
    mutationFn: () => take(api.POST('/api/v1/mail/test', { body: { to } })),
    onSettled: () => client.invalidateQueries({ queryKey: ['mail'] }),
  });
  return (
    <Modal opened onClose={onClose} title="Send a test" centered>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          send.mutate();
        }}
      >
        <TextInput label="To" type="email" value={to} onChange={(event) => { setTyped(event.currentTarget.value.trim()); }} required error={fieldProblem(send.error, 'to')} data-autofocus />
        <Failure error={send.error} />
        {send.data !== undefined && (
          <Notice tone={send.data.state === 'sent' ? 'good' : 'bad'} title={send.data.state === 'sent' ? 'The server took it' : 'It was not taken'}>
            <p>{send.data.answer}</p>
          </Notice>
        )}
        <Group justify="flex-end" gap={8}><Button variant="default" onClick={onClose}>Close</Button><ActionButton type="submit" loading={send.isPending}>Send it</ActionButton></Group>
      </form>
    </Modal>
  );
}

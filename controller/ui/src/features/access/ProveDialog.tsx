// What is grave asks once more who sits there; the call is repeated by itself afterwards.
import { useEffect, useState } from 'react';
import { Modal } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { api, setProver, take } from '@/api/client';
import type { SessionProof } from '@/api/schema';
import { useSession } from '@/api/session';
import { ProofForm } from './ProofForm';
import { ProveWithProvider } from './ProveWithProvider';

export function ProveDialog() {
  const session = useSession();
  const [waiting, setWaiting] = useState<readonly ((isProven: boolean) => void)[]>([]);
  useEffect(() => setProver(() => new Promise((resolve) => { setWaiting((before) => [...before, resolve]); })), []);
  const prove = useMutation({
    mutationFn: (body: SessionProof) => take(api.POST('/api/v1/session/proof', { body })),
    onSuccess: () => { end(true); },
  });
  const end = (isProven: boolean): void => {
    waiting.forEach((resolve) => { resolve(isProven); });
    setWaiting([]);
    prove.reset();
  };
  if (waiting.length === 0) return null;
  return (
    <Modal opened onClose={() => { end(false); }} title="Is it you?" centered zIndex={400}>
      <p className="dim" style={{ marginBottom: 12 }}>This is grave. {session.has_security_key ? 'Use your security key' : 'Enter your password'} once more; it holds for ten minutes.</p>
      <ProofForm verb="Go on" error={prove.error} isPending={prove.isPending} onProof={(proof) => { prove.mutate(proof); }} onCancel={() => { end(false); }} />
      <ProveWithProvider onProven={() => { end(true); }} />
    </Modal>
  );
}

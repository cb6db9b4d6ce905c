// What is grave asks once more who sits there; the call is repeated by itself afterwards.
import { useEffect, useState } from 'react';
import { Modal } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { api, setProver, take } from '@/api/client';
import { ownIdentitiesQuery } from '@/api/queries';
import type { SessionProof } from '@/api/schema';
import { useSession } from '@/api/session';
import { ProofForm } from './ProofForm';
import { ProveWithProvider } from './ProveWithProvider';

/** How much of the root code is listed. */
const LISTED = 5;

interface Waiting {
  rootCode: readonly string[];
  resolve: (isProven: boolean) => void;
}

export function ProveDialog() {
  const session = useSession();
  const [waiting, setWaiting] = useState<readonly Waiting[]>([]);
  useEffect(() => setProver((rootCode) => new Promise((resolve) => { setWaiting((before) => [...before, { rootCode, resolve }]); })), []);
  const prove = useMutation({
    mutationFn: (body: SessionProof) => take(api.POST('/api/v1/session/proof', { body })),
    onSuccess: () => { end(true); },
  });
  const end = (isProven: boolean): void => {
    waiting.forEach(({ resolve }) => { resolve(isProven); });
    setWaiting([]);
    prove.reset();
  };
  const isAsked = waiting.length > 0;
  const own = useQuery({ ...ownIdentitiesQuery, enabled: isAsked });
  if (!isAsked) return null;
  const rootCode = [...new Set(waiting.flatMap((one) => one.rootCode))];
  // Neither password nor key: only the provider can say who sits here.
  const isAtProvider = own.data?.may_use_password === false && !session.has_security_key;
  return (
    <Modal opened onClose={() => { end(false); }} title="Is it you?" centered zIndex={400}>
      <p id="grave">{rootCode.length > 0 ? 'This is root code:' : 'This is grave.'}</p>
      {rootCode.length > 0 && <ul className="bullets" aria-labelledby="grave" style={{ margin: '4px 0 0' }}>{rootCode.slice(0, LISTED).map((effect) => <li key={effect}>{effect}</li>)}{rootCode.length > LISTED && <li className="dim">and {rootCode.length - LISTED} more</li>}</ul>}
      <p className="dim" style={{ margin: '12px 0' }}>{session.has_security_key ? 'Use your security key' : isAtProvider ? 'Show it at your provider' : 'Enter your password'} once more; it holds for ten minutes.</p>
      {!isAtProvider && <ProofForm verb="Go on" error={prove.error} isPending={prove.isPending} onProof={(proof) => { prove.mutate(proof); }} onCancel={() => { end(false); }} />}
      <ProveWithProvider onProven={() => { end(true); }} />
    </Modal>
  );
}

// Signing in with a passkey alone: the browser shows whose passkeys it knows.
import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import type { Session } from '@/api/schema';
import { Failure } from '@/ui/Notice';
import { askKey } from './webauthn';

export function PasskeyButton({ onSession }: { onSession: (session: Session) => void }) {
  const signIn = useMutation({
    mutationFn: async () => {
      const asked = await take(api.POST('/api/v1/session/key-request', { body: {} }));
      return take(api.POST('/api/v1/session/passkey', { body: await askKey(asked) }));
    },
    onSuccess: onSession,
  });
  return (
    <>
      <Button variant="default" loading={signIn.isPending} fullWidth onClick={() => { signIn.mutate(); }}>Sign in with a passkey</Button>
      <Failure error={signIn.error} />
    </>
  );
}

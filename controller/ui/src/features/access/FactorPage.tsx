// The fleet asks for a second factor, and this user has none yet: nothing else is answered before.
import { useState } from 'react';
import { SegmentedControl } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useRouter } from '@tanstack/react-router';
import { securityKeysQuery } from '@/api/queries';
import { sessionQuery } from '@/api/session';
import { pushPath } from '@/components/push';
import { useTitle } from '@/ui/useTitle';
import { AuthCard } from './AuthCard';
import { FactorSetup } from './FactorSetup';
import { KeySetup } from './KeySetup';
import { ProveDialog } from './ProveDialog';
import { hasWebAuthn, isKeyPlace } from './webauthn';

export default function FactorPage() {
  const router = useRouter();
  const client = useQueryClient();
  useTitle('Second factor');
  const keys = useQuery(securityKeysQuery);
  const [kind, setKind] = useState('authenticator');
  const canUseKey = hasWebAuthn && keys.data !== undefined && keys.data.unavailable == null && isKeyPlace(keys.data.url);
  const done = (): void => void client.resetQueries({ queryKey: sessionQuery.queryKey }).then(() => { pushPath(router, '/'); });
  return (
    <AuthCard title="Set up a second factor" lead={`An administrator asks everybody with your preset for one. It takes an authenticator app${canUseKey ? ' or a security key' : ''} and a minute.`}>
      {canUseKey && <SegmentedControl aria-label="What kind" fullWidth mb={12} data={[{ value: 'authenticator', label: 'Authenticator app' }, { value: 'key', label: 'Security key' }]} value={kind} onChange={setKind} />}
      {kind === 'key' && canUseKey ? <KeySetup onDone={done} /> : <FactorSetup onDone={done} />}
      <ProveDialog />
    </AuthCard>
  );
}

// The fleet asks for a second factor, and this user has none yet: nothing else is answered before.
import { useQueryClient } from '@tanstack/react-query';
import { useRouter } from '@tanstack/react-router';
import { sessionQuery } from '@/api/session';
import { pushPath } from '@/components/push';
import { useTitle } from '@/ui/useTitle';
import { AuthCard } from './AuthCard';
import { FactorSetup } from './FactorSetup';

export default function FactorPage() {
  const router = useRouter();
  const client = useQueryClient();
  useTitle('Second factor');
  return (
    <AuthCard title="Set up a second factor" lead="An administrator asks everybody with your preset for one. It takes an authenticator app and a minute.">
      <FactorSetup onDone={() => void client.resetQueries({ queryKey: sessionQuery.queryKey }).then(() => { pushPath(router, '/'); })} />
    </AuthCard>
  );
}

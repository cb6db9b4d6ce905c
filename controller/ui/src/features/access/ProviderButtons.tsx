// The identity providers of the sign-in page.
import { Button } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { signInOptionsQuery } from '@/api/queries';
import { Failure } from '@/ui/Notice';
import { signInWith } from './provider';

export function ProviderButtons({ after }: { after: string }) {
  const options = useQuery(signInOptionsQuery);
  const go = useMutation({ mutationFn: (provider: string) => signInWith(provider, after) });
  const providers = options.data?.providers ?? [];
  if (providers.length === 0) return null;
  return (
    <div className="stack" style={{ marginTop: 12 }} role="group" aria-label="Other ways to sign in">
      {providers.map((provider) => <Button key={provider.name} variant="default" fullWidth loading={go.isPending && go.variables === provider.name} onClick={() => { go.mutate(provider.name); }}>Sign in with {provider.title}</Button>)}
      <Failure error={go.error} />
    </div>
  );
}

// An invitation: whoever opens the link signs in with the provider, once, and has the account from then on.
import { Button } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { signInOptionsQuery } from '@/api/queries';
import { Failure, Notice } from '@/ui/Notice';
import { useTitle } from '@/ui/useTitle';
import { AuthCard } from './AuthCard';
import { fragment, signInWith } from './provider';

export default function InvitedPage() {
  const cut = fragment.lastIndexOf('.');
  const [provider, secret] = [fragment.slice(0, Math.max(cut, 0)), fragment.slice(cut + 1)];
  const options = useQuery(signInOptionsQuery);
  const known = options.data?.providers.find((each) => each.name === provider);
  const go = useMutation({ mutationFn: () => signInWith(provider, '/', secret) });
  useTitle('Invitation');
  if (provider === '' || (options.data !== undefined && known === undefined)) {
    return (
      <AuthCard title="Invitation">
        <Notice tone="warn" title="This link is not whole, or its provider is not offered any more.">Ask whoever sent it for another one.</Notice>
        <Link to="/sign-in" search={{}}>Sign in</Link>
      </AuthCard>
    );
  }
  return (
    <AuthCard title="You are invited" lead={`Sign in with ${known?.title ?? provider} once: from then on that is how you come in here.`}>
      <Failure error={options.error} />
      <Failure error={go.error} />
      <Button fullWidth loading={go.isPending} onClick={() => { go.mutate(); }}>Go on with {known?.title ?? provider}</Button>
    </AuthCard>
  );
}

// One's own identities at providers, on the account page; absent where there is no provider.
import { Button, Menu } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import { ownIdentitiesQuery, signInOptionsQuery } from '@/api/queries';
import type { Identity } from '@/api/schema';
import { Failure } from '@/ui/Notice';
import { toast, toastFailure } from '@/ui/toast';
import { IdentitiesList } from './IdentitiesList';
import { linkWith } from './provider';

export function IdentitiesCard() {
  const client = useQueryClient();
  const options = useQuery(signInOptionsQuery);
  const own = useQuery(ownIdentitiesQuery);
  const link = useMutation({ mutationFn: linkWith, onError: toastFailure });
  const unlink = useMutation({
    mutationFn: (identity: Identity) => take(api.DELETE('/api/v1/session/identities/{identity}', { params: { path: { identity: identity.id } } })),
    onSuccess: async (_, identity) => {
      toast(`${identity.provider} signs you in no more`);
      await client.invalidateQueries({ queryKey: ['users'] });
    },
    onError: toastFailure,
  });
  const providers = options.data?.providers ?? [];
  const identities = own.data?.identities ?? [];
  if (providers.length === 0 && identities.length === 0) return null;
  return (
    <section className="card" aria-labelledby="identities">
      <div className="card-head">
        <h2 id="identities" className="grow">Sign in with</h2>
        {providers.length > 0 && (
          <Menu position="bottom-end">
            <Menu.Target><Button size="xs" variant="default" loading={link.isPending}>Link an identity …</Button></Menu.Target>
            <Menu.Dropdown>{providers.map((provider) => <Menu.Item key={provider.name} onClick={() => { link.mutate(provider.name); }}>{provider.title}</Menu.Item>)}</Menu.Dropdown>
          </Menu>
        )}
      </div>
      <Failure error={own.error} />
      {identities.length > 0 ? <IdentitiesList identities={identities} onUnlink={(identity) => { unlink.mutate(identity); }} /> : <div className="card-body"><p className="dim">Link your account at a provider, and sign in with it instead of the password.</p></div>}
    </section>
  );
}

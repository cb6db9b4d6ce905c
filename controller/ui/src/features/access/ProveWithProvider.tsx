// Showing at a provider who sits there: for who has an identity, in a tab of its own.
import { useEffect } from 'react';
import { Button } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { ownIdentitiesQuery, signInOptionsQuery } from '@/api/queries';
import { Failure } from '@/ui/Notice';
import { proveWith, whenProven } from './provider';

export function ProveWithProvider({ onProven }: { onProven: () => void }) {
  const own = useQuery(ownIdentitiesQuery);
  const options = useQuery(signInOptionsQuery);
  const prove = useMutation({ mutationFn: proveWith });
  useEffect(() => whenProven(onProven), [onProven]);
  const held = own.data?.identities.filter((each) => each.subject != null).map((each) => each.provider) ?? [];
  const providers = options.data?.providers.filter((each) => held.includes(each.name)) ?? [];
  if (providers.length === 0) return null;
  return (
    <div className="stack" style={{ marginTop: 12 }}>
      {providers.map((provider) => <Button key={provider.name} variant="default" fullWidth loading={prove.isPending} onClick={() => { prove.mutate(provider.name); }}>Show it with {provider.title}</Button>)}
      {prove.isSuccess && <p className="dim">Go on in the other tab; this page goes on by itself afterwards.</p>}
      <Failure error={prove.error} />
    </div>
  );
}

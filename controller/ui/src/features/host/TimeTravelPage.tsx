// Time travel: what became of the objects between two moments, and the manifest as it stood.
import { Button, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { exportQuery, historyQuery, rolesQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import { ActionButton } from '@/ui/ActionButton';
import { Empty } from '@/ui/Empty';
import { FilterChoice } from '@/ui/FilterChoice';
import { Icon } from '@/ui/Icon';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { toast, toastFailure } from '@/ui/toast';
import { HistoryRow } from './HistoryRow';
import { download } from './manifest';
import { AGO, fromInput, toInput } from '@/ui/moment';

const route = getRouteApi('/app/config/history');

export default function TimeTravelPage() {
  const { from, to, scope } = route.useSearch();
  const navigate = route.useNavigate();
  const roles = useQuery(rolesQuery).data ?? [];
  const set = (change: { from?: string | undefined; to?: string | undefined; scope?: string | undefined }): void => {
    const merged = Object.entries({ from, to, scope, ...change }).filter(([, value]) => value !== undefined);
    void navigate({ search: Object.fromEntries(merged), replace: true });
  };
  const history = useQuery({ ...historyQuery({ from: from ?? '', to, scope }), enabled: from !== undefined });
  return (
    <>
      <PageHead title="Time travel" facts="What became of the desired state between two moments" actions={<><Button component={Link} to="/config" variant="default">Config as it is</Button><Button variant="default" renderRoot={(props) => <Link to="/past" search={from === undefined ? {} : { at: from }} {...props} />}>The fleet then</Button>{from !== undefined && <ExportThen at={from} scope={scope} />}</>} />
      <div className="filters" role="search" style={{ alignItems: 'flex-end' }}>
        <TextInput type="datetime-local" label="From" size="xs" value={toInput(from)} onChange={(event) => { set({ from: fromInput(event.currentTarget.value) }); }} />
        <TextInput type="datetime-local" label="To (now when empty)" size="xs" value={toInput(to)} onChange={(event) => { set({ to: fromInput(event.currentTarget.value) }); }} />
        <FilterChoice label="Scope" value={scope} choices={['fleet', ...roles.map((role) => `role:${role.name}`)]} onChange={(chosen) => { set({ scope: chosen }); }} />
        {AGO.map(([word, ms]) => <Button key={word} size="compact-xs" variant="subtle" onClick={() => { set({ from: new Date(Date.now() - ms).toISOString(), to: undefined }); }}>{word}</Button>)}
      </div>
      <Failure error={history.error} />
      {from === undefined && <Empty title="Choose a moment">Every revision of every object is kept. Take a moment before something went wrong, and see what was changed since, by whom and why.</Empty>}
      {history.isLoading && <RowSkeletons />}
      {history.data !== undefined && (
        history.data.items.length === 0 ? <Empty title="Nothing changed">{plural(history.data.unchanged, 'object')} stood then as at the later moment.</Empty> : (
          <section className="card" aria-labelledby="changed-since">
            <div className="card-head"><h2 id="changed-since">{plural(history.data.items.length, 'object')} {history.data.has_more && 'and more '}changed</h2><span className="dim small">{history.data.unchanged} unchanged</span></div>
            <ol className="card-list">{history.data.items.map((item) => <HistoryRow key={item.object} item={item} />)}</ol>
          </section>
        )
      )}
    </>
  );
}

function ExportThen({ at, scope }: { at: string; scope: string | undefined }) {
  const client = useQueryClient();
  const refusal = useRefusal('read_content');
  const fetchAll = useMutation({
    mutationFn: () => client.query({ ...exportQuery({ scope, kind: undefined, at }), staleTime: 0 }),
    onSuccess: (made) => {
      const name = `lampas-${at.slice(0, 16).replace(/[^0-9T-]/g, '')}.toml`;
      download(name, made.manifest);
      toast(`${plural(made.objects, 'object')} as they stood, in ${name}`);
    },
    onError: toastFailure,
  });
  return <ActionButton variant="default" refusal={refusal} loading={fetchAll.isPending} leftSection={<Icon name="download" />} onClick={() => { fetchAll.mutate(); }}>Export as it stood</ActionButton>;
}

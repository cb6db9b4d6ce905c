// Where an object comes from, on its own page: what is changed here shows as a difference there.
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { Notice } from '@/ui/Notice';
import { objectSourcesQuery } from './queries';

export function ObjectSources({ object }: { object: string }) {
  const found = useQuery(objectSourcesQuery(object)).data ?? [];
  return found.map((it) => (
    <Notice key={it.id} tone={it.what == null ? 'info' : 'warn'} title={<>{it.mode === 'watch' ? 'Git source' : 'Comes from git source'} <Link to="/sources/$source" params={{ source: it.name }}>{it.name}</Link>: <span className="mono">{it.file}:{it.line}</span>{it.commit !== '' && <> at commit <span className="mono">{it.commit.slice(0, 12)}</span></>}</>}>
      {it.what == null ? 'It is as git says. A change here is shown as a difference there; better change it in git.' : it.what === 'gone' ? 'Git has it no longer.' : 'It is otherwise than git says.'}
    </Notice>
  ));
}

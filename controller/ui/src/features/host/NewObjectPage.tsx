// A new object.
import { useMemo } from 'react';
import { getRouteApi, Link } from '@tanstack/react-router';
import { KIND_NOUNS, KINDS_OF_OBJECTS, NEW_TITLES } from '@/components/kinds';
import { PageHead } from '@/ui/PageHead';
import { blank } from './draft';
import { ObjectEditor } from './ObjectEditor';
import { SecretEditor } from './SecretEditor';

const route = getRouteApi('/app/config/new');

export default function NewObjectPage() {
  const { kind, scope = 'fleet' } = route.useSearch();
  const original = useMemo(() => blank(kind, scope), [kind, scope]);
  const others = KINDS_OF_OBJECTS.filter((each) => each !== kind);
  return (
    <>
      <PageHead
        above={<Link to="/config">Config</Link>}
        title={NEW_TITLES[kind]}
        facts={<>or a new {others.map((each, index) => <span key={each}>{index > 0 && ', '}<Link to="/config/new" search={{ kind: each, scope }}>{KIND_NOUNS[each]}</Link></span>)}</>}
      />
      {kind === 'secret' ? <SecretEditor key={scope} original={original} /> : <ObjectEditor key={kind} draftKey={`new-${kind}`} original={original} />}
    </>
  );
}

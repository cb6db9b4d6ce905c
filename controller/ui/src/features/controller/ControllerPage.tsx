// The controller that answers: its version, and whether it holds the keys that the store's values are sealed under.
import { useQuery } from '@tanstack/react-query';
import { controllerQuery } from '@/api/queries';
import type { KeyState, SealingKey } from '@/api/schema';
import { FactList } from '@/ui/Facts';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { ShapeMark } from '@/ui/ShapeMark';
import { RowSkeletons } from '@/ui/Skeletons';

const WORDS: Record<KeyState, string> = {
  unused: 'nothing was sealed yet',
  right: 'the store’s',
  missing: 'missing',
  other: 'another one than the store’s',
  unreadable: 'can’t be read',
};

export default function ControllerPage() {
  const status = useQuery(controllerQuery);
  return (
    <>
      <PageHead title="Controller" facts={status.data !== undefined && `${status.data.name}, version ${status.data.version}`} />
      <Failure error={status.error} />
      {status.data === undefined ? status.error === null && <RowSkeletons rows={4} /> : (
        <>
          <section className="card" aria-labelledby="sealing-keys">
            <div className="card-head"><h2 id="sealing-keys">Keys of sealed values</h2></div>
            <ul className="card-list">{status.data.keys.map((key) => <KeyRow key={key.file} shown={key} />)}</ul>
            <div className="card-body"><p className="dim">The store holds secrets sealed; the keys are files of each controller’s data directory. Controllers that share a store need the same ones: <code>lampas-controller keys export</code> and <code>keys import</code> carry them.</p></div>
          </section>
          <section className="card" aria-labelledby="identity">
            <div className="card-head"><h2 id="identity">Identity</h2></div>
            <div className="card-body"><FactList items={[['Id', <span key="id" className="mono">{status.data.id}</span>], ['Name', status.data.name], ['Version', status.data.version]]} /></div>
          </section>
        </>
      )}
    </>
  );
}

function KeyRow({ shown }: { shown: SealingKey }) {
  const isGood = shown.state === 'right' || shown.state === 'unused';
  return (
    <li>
      <div className="session">
        <span className="grow"><span className="mono">{shown.file}</span> <span className="dim">{shown.holds}</span></span>
        <span className="state"><ShapeMark shape={isGood ? 'check' : 'triangle'} tone={shown.state === 'right' ? 'green' : isGood ? 'slate' : 'amber'} size={10} />{WORDS[shown.state]}</span>
      </div>
      {shown.problem != null && <Notice tone="warn">{shown.problem}</Notice>}
    </li>
  );
}

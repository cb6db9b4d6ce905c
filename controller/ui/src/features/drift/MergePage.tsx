// A change by hand in a file that a template made: what goes into the template by itself, and what somebody decides.
import { useState } from 'react';
import { Radio, Textarea, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { driftMergeQuery, driftQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import type { Drift, DriftMerge, MergePart } from '@/api/schema';
import { adoptWords } from '@/components/DriftCard';
import { ActionButton } from '@/ui/ActionButton';
import { Diff } from '@/ui/Diff';
import { visible } from '@/ui/diff';
import { Facts } from '@/ui/Facts';
import { Failure, Notice } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { plural } from '@/ui/plural';
import { BlockSkeleton } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';
import { asDiff, lineCount, resolved, type Choice } from './merge';

const route = getRouteApi('/app/drift/$drift/merge');

export default function MergePage() {
  const { drift: id } = route.useParams();
  const drift = useQuery(driftQuery(id));
  const merge = useQuery(driftMergeQuery(id));
  const error = drift.error ?? merge.error;
  return (
    <>
      <PageHead
        above={<><Link to="/drift">Drift</Link> / <Link to="/drift/$drift" params={{ drift: id }}>Changed by hand</Link></>}
        title="Merge into the template"
        facts={drift.data !== undefined && <DriftFacts drift={drift.data} />}
      />
      <Failure error={error} />
      {drift.data === undefined || merge.data === undefined ? error === null && <BlockSkeleton /> : <Merge key={merge.data.id} drift={drift.data} merge={merge.data} onMoved={() => void merge.refetch()} />}
    </>
  );
}

function DriftFacts({ drift }: { drift: Drift }) {
  return (
    <Facts
      items={[
        <span key="path" className="mono">{drift.path}</span>,
        <Link key="node" to="/nodes/$node" params={{ node: drift.node.name }}>{drift.node.name}</Link>,
        drift.owner == null ? 'the file is gone' : `owned by ${drift.owner}, ${drift.mode ?? ''}`,
        drift.modified_at != null && <span key="written">written <Time at={drift.modified_at} /></span>,
      ]}
    />
  );
}

function Merge({ drift, merge, onMoved }: { drift: Drift; merge: DriftMerge; onMoved: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const permission = useRefusal('change');
  const [choices, setChoices] = useState<Readonly<Record<number, Choice>>>({});
  const [reason, setReason] = useState('');
  const text = resolved(merge.parts, choices);
  const open = merge.parts.filter((part, index) => part.kind === 'conflict' && choices[index] === undefined).length;
  const isOther = Object.entries(choices).some(([index, choice]) => choice.take === 'template' || (choice.take === 'own' && choice.text !== merge.parts[Number(index)]?.node));
  const adopt = useMutation({
    mutationFn: (content: string) => take(api.POST('/api/v1/drift/{drift}/adopt', { params: { path: { drift: drift.id } }, body: { reason, content, merge: merge.id } })),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ['changes'] });
      await navigate({ to: '/changes/$change', params: { change: String(made.number) } });
    },
    onError: onMoved,
  });
  const refusal = permission ?? (open > 0 ? `${plural(open, 'conflict')} ${open === 1 ? 'waits' : 'wait'} for a decision.` : drift.adopt_refusal === '' ? undefined : drift.adopt_refusal);
  return (
    <div className="stack">
      {merge.conflicts === 0 ? (
        <Notice tone="good" title="No conflict"><p>What was edited stands beside the names of the template: made from the merged template, the file on {drift.node.name} is what stands there.</p></Notice>
      ) : (
        <Notice title={`${plural(merge.conflicts, 'conflict')} to decide`}><p>Where a name stands in the template, or it was changed too, an edit can’t be carried over by itself. Lines that may hold a secret are not shown: <span className="mono">{'{{hidden}}'}</span>.</p></Notice>
      )}
      <Pieces parts={merge.parts} choices={choices} onChoose={(index, choice) => { setChoices({ ...choices, [index]: choice }); }} />
      <section className="card" aria-labelledby="make">
        <div className="card-head"><h2 id="make" className="grow">Make a change of it</h2></div>
        <form
          className="card-body stack"
          onSubmit={(event) => {
            event.preventDefault();
            if (text !== undefined && refusal === undefined) adopt.mutate(text);
          }}
        >
          <TextInput label="Why" placeholder={`adopted from ${drift.node.name}`} value={reason} maxLength={500} onChange={(event) => { setReason(event.currentTarget.value); }} />
          {isOther && <p className="small dim">On {drift.node.name} the file shall then be otherwise than it stands: the node takes that with the change, unless the file is edited again before.</p>}
          <Failure error={adopt.error} />
          <div className="actions"><ActionButton type="submit" refusal={refusal} loading={adopt.isPending}>{adoptWords(drift.scope, drift.scope_nodes)}</ActionButton></div>
        </form>
      </section>
    </div>
  );
}

function Pieces({ parts, choices, onChoose }: { parts: readonly MergePart[]; choices: Readonly<Record<number, Choice>>; onChoose: (index: number, choice: Choice) => void }) {
  const count = parts.filter((part) => part.kind === 'conflict').length;
  const shown: React.ReactNode[] = [];
  let plain = '';
  let at = 1;
  let number = 0;
  const flush = (key: string) => {
    if (plain !== '') shown.push(<Diff key={key} text={plain} label="What goes into the template by itself" />);
    plain = '';
  };
  for (const [index, part] of parts.entries()) {
    if (part.kind === 'conflict') {
      flush(`plain ${index}`);
      number += 1;
      shown.push(<Conflict key={index} part={part} at={at} title={`Conflict ${number} of ${count}`} choice={choices[index]} onChoose={(choice) => { onChoose(index, choice); }} />);
    } else {
      plain += asDiff(part, at, index > 0, index + 1 < parts.length);
    }
    at += lineCount(part.template);
  }
  flush('plain last');
  return (
    <section className="card" aria-labelledby="pieces">
      <div className="card-head"><h2 id="pieces" className="grow">What becomes of the template</h2></div>
      <div className="card-body stack">{shown}</div>
    </section>
  );
}

function Conflict({ part, at, title, choice, onChoose }: { part: MergePart; at: number; title: string; choice: Choice | undefined; onChoose: (choice: Choice) => void }) {
  const text = asDiff({ ...part, kind: 'taken' }, at, false, false);
  return (
    <fieldset className="conflict">
      <legend>{title}: {part.why}</legend>
      <div className="stack-s">
        <Diff text={text} label={`${title}: the template's lines and the node's`} />
        <Radio.Group
          aria-label={`${title}: what the template shall say`}
          value={choice?.take ?? ''}
          onChange={(taken) => {
            if (taken === 'own') onChoose({ take: 'own', text: part.template });
            else if (taken === 'template' || taken === 'node') onChoose({ take: taken });
          }}
        >
          <div className="conflict-choices">
            <Radio value="template" label={part.template === '' ? 'Leave them out, as the template does' : 'Keep the template’s'} />
            <Radio value="node" disabled={!part.can_take_node} label={part.node === '' ? 'Take them out, as on the node' : part.can_take_node ? 'Take the node’s as they stand' : 'Take the node’s: they are not shown'} />
            <Radio value="own" label="Write it" />
          </div>
        </Radio.Group>
        {choice?.take === 'own' && (
          <Textarea
            label="These lines of the template"
            description={visible(choice.text) === choice.text ? undefined : `Invisible characters are in it: ${visible(choice.text)}`}
            autosize
            minRows={2}
            maxRows={20}
            value={choice.text}
            classNames={{ input: 'mono' }}
            onChange={(event) => { onChoose({ take: 'own', text: event.currentTarget.value }); }}
          />
        )}
      </div>
    </fieldset>
  );
}

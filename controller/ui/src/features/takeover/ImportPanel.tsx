// What was chosen becomes objects: scope, jobs or files, and then the proof of each.
import { useState } from 'react';
import { Checkbox, Textarea } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, take } from '@/api/client';
import { useRefusal } from '@/api/session';
import type { Imported, NodeRef, Proof } from '@/api/schema';
import { ScopeInput } from '@/components/ScopeInput';
import type { Shape, Tone } from '@/theme/status';
import { ActionButton } from '@/ui/ActionButton';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';

/** A version of a thing that shall be taken over. */
export interface Choice {
  key: string;
  what: string;
  item: string;
  nodes: readonly NodeRef[];
  isCrontab: boolean;
}

export function ImportPanel({ role, chosen, onDone }: { role: string; chosen: readonly Choice[]; onDone: () => void }) {
  const client = useQueryClient();
  const permission = useRefusal('change');
  const [scope, setScope] = useState(`role:${role}`);
  const [asJobs, setAsJobs] = useState(false);
  const [reason, setReason] = useState('');
  const node = commonNode(chosen);
  const make = useMutation({
    mutationFn: (from: NodeRef) => take(api.POST('/api/v1/nodes/{node}/import', { params: { path: { node: from.id } }, body: { items: chosen.map((each) => each.item), scope, as_jobs: asJobs, reason } })),
    onSuccess: async () => {
      onDone();
      await client.invalidateQueries({ queryKey: ['changes'] });
    },
  });
  const refusal = permission ?? (chosen.length === 0 ? 'Choose what shall be taken over.' : node === undefined ? 'No one node has all that is chosen: import it in parts.' : undefined);
  return (
    <>
      <section className="card" aria-labelledby="import-head">
        <div className="card-head"><h2 id="import-head">Import</h2></div>
        <div className="card-body stack">
          <p className="dim small">{chosen.length === 0 ? 'Choose versions on the left. Nothing changes before you have seen the plan and applied it.' : `${plural(chosen.length, 'thing')}, as on ${node?.name ?? 'several nodes'}`}</p>
          <ScopeInput value={scope} onChange={setScope} error={undefined} />
          {chosen.some((each) => each.isCrontab) && <Checkbox checked={asJobs} onChange={(event) => { setAsJobs(event.currentTarget.checked); }} label="Make cron jobs of the lines" description="Otherwise the file becomes an object as it stands, byte for byte. The lines go from their file in the same change." />}
          <Textarea label="Why" description="Stands in the history and the audit" autosize minRows={2} maxLength={400} value={reason} onChange={(event) => { setReason(event.currentTarget.value); }} />
          <Failure error={make.error} />
          <ActionButton refusal={refusal} loading={make.isPending} fullWidth onClick={() => { if (node !== undefined) make.mutate(node); }}>{chosen.length === 0 ? 'Plan' : `Plan ${plural(chosen.length, 'import')}`}</ActionButton>
        </div>
      </section>
      {make.data !== undefined && <Result made={make.data} />}
    </>
  );
}

/** The first node that has all of what was chosen, in the versions that were chosen. */
export function commonNode(chosen: readonly Choice[]): NodeRef | undefined {
  return chosen[0]?.nodes.find((node) => chosen.every((each) => each.nodes.some((other) => other.id === node.id)));
}

const PROOFS: Record<Proof, { shape: Shape; tone: Tone; words: string }> = {
  unchanged: { shape: 'disc', tone: 'green', words: 'no change there, taken over' },
  changes: { shape: 'half', tone: 'blue', words: 'the plan shows what changes' },
  unproven: { shape: 'triangle', tone: 'amber', words: 'not proven' },
};

function Result({ made }: { made: Imported }) {
  return (
    <section className="card" aria-labelledby="made-head" aria-live="polite">
      <div className="card-head"><h2 id="made-head" className="grow">{made.number == null ? 'Nothing was imported' : plural(made.taken.length, 'object')}</h2></div>
      <div className="card-body stack-s" role="list">
        {made.taken.map((each) => {
          const proof = PROOFS[each.proof];
          return (
            <div key={each.object} role="listitem">
              <div className="mono small" style={{ overflowWrap: 'anywhere' }}>{each.object}</div>
              <div className="row small dim"><ShapeMark shape={proof.shape} tone={proof.tone} size={10} /><span>{proof.words}{each.detail !== '' && `: ${each.detail}`}</span></div>
            </div>
          );
        })}
      </div>
      {made.left.length > 0 && (
        <div className="card-body stack-s">
          <h3>Left as it is</h3>
          {made.left.map((each) => <p key={each.item + each.reason} className="small" style={{ overflowWrap: 'anywhere' }}><code>{each.item}</code> {each.reason}</p>)}
        </div>
      )}
      {made.number != null && <div className="card-body"><Link to="/changes/$change" params={{ change: String(made.number) }}>See the plan, and apply it: change {made.number}</Link></div>}
    </section>
  );
}

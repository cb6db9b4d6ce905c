// What a check wrote that said no, beside the change that it stopped.
import { useQuery } from '@tanstack/react-query';
import { operationGroupsQuery } from '@/api/queries';
import { OutputText } from '@/features/operation/OutputText';
import { plural } from '@/ui/plural';

// The end says why; the whole stands with the operation.
const LINES = 12;

export function GateOutput({ operation }: { operation: number }) {
  // Who may not read output sees the reason alone.
  const groups = useQuery({ ...operationGroupsQuery(String(operation)), retry: false }).data ?? [];
  const said = groups.filter((group) => group.state !== 'succeeded' && (group.text ?? '') !== '').slice(0, 3);
  return said.map((group) => (
    <figure key={group.run} className="gate-output">
      <figcaption className="small dim">{group.nodes.length === 1 ? group.nodes[0]?.name : plural(group.nodes.length, 'node')} wrote</figcaption>
      <OutputText text={group.text ?? ''} last={LINES} />
    </figure>
  ));
}

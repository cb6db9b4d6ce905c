// What an edit of nodes would do, asked of the nodes themselves, with the ways to go on: save it, leave it as a change for
// whoever has to approve it or for another time, or go back.
import { Button, Group } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import type { Change } from '@/api/schema';
import { useRefusal } from '@/api/session';
import { NodeEditsCard } from '@/features/change/NodeEditsCard';
import { PlanCard } from '@/features/change/PlanCard';
import { ActionButton } from '@/ui/ActionButton';
import { Failure, Notice } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { Time } from '@/ui/Time';
import { toast } from '@/ui/toast';
import { useNow } from '@/ui/useNow';
import type { NodeEdits } from './useNodeEdits';

interface Props {
  edits: NodeEdits;
  change: Change;
  onSaved: () => void;
  onLeft: () => void;
}

export function EditPlan({ edits, change, onSaved, onLeft }: Props) {
  const navigate = useNavigate();
  const refusal = useRefusal('change');
  const { plan, control } = change;
  const now = useNow();
  const protections = control?.protections ?? [];
  const standing = (control?.freezes ?? []).filter((freeze) => Date.parse(freeze.from) <= now);
  const isHeld = protections.length > 0 || standing.length > 0;
  const moved = (plan?.groups ?? []).filter((group) => group.actions.length > 0).reduce((sum, group) => sum + group.nodes.length, 0) + (plan?.unplanned.length ?? 0);
  const whyNot = refusal ?? plan?.blockers[0] ?? (protections.length > 0 ? 'Somebody else must approve it first.' : standing.length > 0 ? 'Nothing is changed there before the freeze ends.' : undefined);
  const leave = async (): Promise<void> => {
    await edits.refresh();
    onLeft();
    await navigate({ to: '/changes/$change', params: { change: String(change.number) } });
  };
  return (
    <div className="stack">
      <NodeEditsCard edits={change.node_edits ?? []} />
      {protections.map((each) => <Notice key={each.scope} tone="warn" title={`${each.scope} is protected`}>{each.reason}. Leave it as a change: {(control?.approvers ?? []).length === 0 ? 'nobody but you may approve it' : `${control?.approvers.slice(0, 5).join(', ') ?? ''} may approve it`}.</Notice>)}
      {standing.map((each) => <Notice key={`${each.scope} ${each.until}`} tone="warn" title={`${each.scope} is frozen`}>Until <Time at={each.until} absolute />: {each.reason}. Leave it as a change, and put that on the schedule.</Notice>)}
      {plan != null && <PlanCard plan={plan} change={change.number} isApplied={false} />}
      {plan != null && plan.unplanned.length > 0 && <Notice tone="warn" title={`${plural(plan.unplanned.length, 'node')} could not be asked`}>{plan.unplanned.slice(0, 5).map((each) => `${each.node.name} (${each.reason})`).join(', ')}. What changes there is not seen before; they get it when they return.</Notice>}
      {plan != null && plan.blockers.length > 0 && <Notice tone="bad" title="This can’t be applied"><ul>{plan.blockers.map((blocker) => <li key={blocker}>{blocker}</li>)}</ul></Notice>}
      <Failure error={edits.apply.error} />
      <Group justify="flex-end" gap={8}>
        <Button variant="default" onClick={edits.drop}>Back</Button>
        <Button variant={isHeld ? 'filled' : 'default'} onClick={() => void leave()}>Leave it as change {change.number}</Button>
        <ActionButton
          variant={isHeld ? 'default' : 'filled'}
          refusal={whyNot}
          loading={edits.apply.isPending}
          onClick={() => {
            edits.apply.mutate(change, {
              onSuccess: () => {
                toast(`${plural(change.node_edits?.length ?? 0, 'node')} saved`);
                onSaved();
              },
            });
          }}
        >
          {moved === 0 ? 'Save, nothing moves' : `Save and change ${plural(moved, 'node')}`}
        </ActionButton>
      </Group>
    </div>
  );
}

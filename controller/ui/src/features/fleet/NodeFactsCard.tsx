// What a node says of itself, and its certificate.
import type { Node } from '@/api/schema';
import { LabelChips } from '@/components/RoleChips';
import { FactList } from '@/ui/Facts';
import { bytes } from '@/ui/plural';
import { Time } from '@/ui/Time';
import { PolicyCard } from './PolicyCard';

export function NodeFactsCard({ node }: { node: Node }) {
  const { facts } = node;
  return (
    <div className="columns-even">
      <section className="card" aria-labelledby="facts">
        <div className="card-head"><h2 id="facts">What it says of itself</h2></div>
        <div className="card-body">
          <FactList
            items={[
              ['Host name', facts.hostname],
              ['System', facts.os],
              ['Kernel', <span key="kernel" className="mono">{facts.kernel} {facts.architecture}</span>],
              ['Processors', facts.cpus],
              ['Memory', bytes(facts.memory_bytes)],
              ['Time zone', facts.time_zone],
              ['Agent', facts.agent_version],
              ['Root of managed paths', <code key="root">{facts.root}</code>],
              ['Addresses', <span key="addresses" className="mono">{facts.addresses.join(', ')}</span>],
            ]}
          />
        </div>
      </section>
      <section className="card" aria-labelledby="known">
        <div className="card-head"><h2 id="known">What the controller knows</h2></div>
        <div className="card-body">
          <FactList
            items={[
              ['Address for other nodes', node.address ?? <span className="dim">not set; hosts entries leave it out</span>],
              ['Connects from', <span key="from" className="mono">{node.observed_address ?? 'unknown'}</span>],
              ['Labels', <LabelChips key="labels" labels={node.labels} />],
              ['Enrolled', <Time key="enrolled" at={node.enrolled_at} />],
              ['Certificate ends', node.is_revoked ? 'revoked' : <Time key="ends" at={node.certificate_expires_at} />],
              ['Last generation', node.is_confirmed == null ? 'none yet' : node.is_confirmed ? 'confirmed by a fresh handshake' : 'applied, not confirmed yet'],
              ['Id', <code key="id">{node.id}</code>],
            ]}
          />
        </div>
      </section>
      <PolicyCard policy={facts.policy} />
    </div>
  );
}

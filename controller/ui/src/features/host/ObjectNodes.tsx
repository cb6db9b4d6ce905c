// The nodes that have an object, those that a rollout keeps it from, and those where a more specific one wins.
import { Link } from '@tanstack/react-router';
import type { KeptBack, Object as FleetObject } from '@/api/schema';
import { insteadWords, waits } from '@/components/KeptBack';
import { plural } from '@/ui/plural';

export function ObjectNodes({ object, kept }: { object: FleetObject; kept: readonly KeptBack[] }) {
  // Where a rollout keeps it back, what is in force is another revision, or nothing.
  const without = new Set(kept.flatMap((each) => each.nodes.map((node) => node.id)));
  const inForce = object.effective_on.filter((node) => !without.has(node.id));
  return (
    <div className="columns-even">
      <div className="stack">
        <section className="card" aria-labelledby="effective">
          <div className="card-head"><h2 id="effective">In force on {plural(inForce.length, 'node')}</h2></div>
          {inForce.length === 0 && <p className="card-none">{object.is_deleted ? 'It was deleted.' : without.size > 0 ? 'No node has it as it stands.' : `No node is in the scope ${object.scope}, or another object wins everywhere.`}</p>}
          <ul className="card-list">
            {inForce.map((node) => <li key={node.id}><Link to="/nodes/$node" params={{ node: node.name }}>{node.name}</Link></li>)}
          </ul>
        </section>
      </div>
      <div className="stack">
        {kept.map((each) => (
          <section key={each.change} className="card" aria-labelledby={`kept-${each.change}`}>
            <div className="card-head">
              <h2 id={`kept-${each.change}`}>{waits(each) ? 'Not yet' : 'Left out'} on {plural(each.nodes.length, 'node')}</h2>
              <span className="dim small">by <Link to="/changes/$change" params={{ change: String(each.change) }}>change {each.change}</Link>, whose rollout {waits(each) ? 'is' : 'was'} {each.state}; {insteadWords(each)}</span>
            </div>
            <ul className="card-list">
              {each.nodes.map((node) => <li key={node.id}><Link to="/nodes/$node" params={{ node: node.name }}>{node.name}</Link></li>)}
            </ul>
          </section>
        ))}
        <section className="card" aria-labelledby="overridden">
          <div className="card-head"><h2 id="overridden">Overridden on {plural(object.overridden_on.length, 'node')}</h2></div>
          {object.overridden_on.length === 0 && <p className="card-none">No more specific object claims the same target.</p>}
          <ul className="card-list">
            {object.overridden_on.map((each) => (
              <li key={each.node.id}>
                <div><Link to="/nodes/$node" params={{ node: each.node.name }}>{each.node.name}</Link> <span className="dim">by</span> <Link to="/config/$object" params={{ object: each.by }}>{each.by_text}</Link></div>
              </li>
            ))}
          </ul>
        </section>
      </div>
    </div>
  );
}

// The nodes that have an object, and those where a more specific one wins.
import { Link } from '@tanstack/react-router';
import type { Object as FleetObject } from '@/api/schema';
import { plural } from '@/ui/plural';

export function ObjectNodes({ object }: { object: FleetObject }) {
  return (
    <div className="columns-even">
      <section className="card" aria-labelledby="effective">
        <div className="card-head"><h2 id="effective">In force on {plural(object.effective_on.length, 'node')}</h2></div>
        {object.effective_on.length === 0 && <p className="card-none">No node is in the scope {object.scope}, or another object wins everywhere.</p>}
        <ul className="card-list">
          {object.effective_on.map((node) => <li key={node.id}><Link to="/nodes/$node" params={{ node: node.name }}>{node.name}</Link></li>)}
        </ul>
      </section>
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
  );
}

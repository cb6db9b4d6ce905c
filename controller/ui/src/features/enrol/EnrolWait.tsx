// The command for the new node, and the wait until it is connected.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { enrolTokenQuery } from '@/api/queries';
import type { EnrolTokenCreated } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { Command } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { Time } from '@/ui/Time';

// Events announce the node; this is the net for a lost stream.
const POLL_MS = 3_000;

/** Gives the token on standard input: there it is in no list of processes. */
function withToken(command: string, secret: string): string {
  return `${command} <<'TOKEN'\n${secret}\nTOKEN`;
}

export function EnrolWait({ made, onAnother }: { made: EnrolTokenCreated; onAnother: () => void }) {
  const token = useQuery({ ...enrolTokenQuery(made.token.id), initialData: made.token, refetchInterval: POLL_MS });
  const { enrolled, state, expires_at: expires, uses_left: left } = token.data;
  const isConnected = enrolled.some((node) => node.is_connected);
  return (
    <section className="card" aria-label="Enrol the node">
      <div className="card-body">
        <ol className="steps">
          <li>
            <div className="stack-s">
              <h2>Install the agent on the new machine</h2>
              <Command text="apt install ./lampas-agent_*.deb" />
            </div>
          </li>
          <li data-done={enrolled.length > 0 || undefined}>
            <div className="stack-s">
              <h2>Run this there as root</h2>
              <Command text={withToken(made.command, made.secret)} />
              <p className="dim small">The token is shown this once. It lives <Time at={expires} /> and works {left <= 1 ? 'once' : `for ${plural(left, 'more node')}`}. The node checks the controller by the token, and the controller the node.</p>
            </div>
          </li>
          <li data-done={isConnected || undefined}>
            <div className="stack-s" aria-live="polite">
              <h2>{isConnected ? 'Connected' : enrolled.length > 0 ? 'Enrolled, connecting …' : state === 'waiting' ? 'Waiting for the node …' : `The token is ${state}`}</h2>
              <Failure error={token.error} />
              {enrolled.length === 0 && state === 'waiting' && <p className="dim">This page shows the node as soon as it is there. It may take as long as you like; you can come back.</p>}
              {enrolled.map((node) => (
                <div key={node.id} className="row-wrap">
                  <StateBadge state={node.is_connected ? 'online' : 'waiting'} />
                  <Link to="/nodes/$node" params={{ node: node.name }}><strong>{node.name}</strong></Link>
                  <span className="dim">{node.about}</span>
                </div>
              ))}
              <div className="row" style={{ marginTop: 8 }}>
                {isConnected && <Link to="/config/new" search={{ kind: 'cron', scope: made.token.roles[0] === undefined ? 'fleet' : `role:${made.token.roles[0]}` }}>Write its first cron job</Link>}
                <Button size="xs" variant="default" onClick={onAnother}>Enrol another</Button>
              </div>
            </div>
          </li>
        </ol>
      </div>
    </section>
  );
}

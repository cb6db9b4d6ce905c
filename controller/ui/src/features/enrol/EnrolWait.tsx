// The command for the new node, and the wait until it is connected.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { enrolTokenQuery } from '@/api/queries';
import type { EnrolToken, EnrolTokenCreated } from '@/api/schema';
import { StateBadge } from '@/components/StateBadge';
import { Command } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { plural } from '@/ui/plural';
import { RowSkeletons } from '@/ui/Skeletons';
import { Time } from '@/ui/Time';

// Events announce the node; this is the net for a lost stream.
const POLL_MS = 3_000;

/** Gives the token on standard input: there it is in no list of processes. */
function withToken(command: string, secret: string): string {
  return `${command} <<'TOKEN'\n${secret}\nTOKEN`;
}

interface Props {
  id: string;
  /** The token as it was made in this visit; its command can't be had again. */
  made: EnrolTokenCreated | undefined;
  onAnother: () => void;
}

export function EnrolWait({ id, made, onAnother }: Props) {
  const token = useQuery({ ...enrolTokenQuery(id), ...(made === undefined ? {} : { initialData: made.token }), refetchInterval: POLL_MS });
  if (token.data === undefined) {
    return token.error === null ? <RowSkeletons /> : <Failure error={token.error} retry={<Button size="xs" variant="default" onClick={onAnother}>Make a new one</Button>} />;
  }
  const { enrolled, state, expires_at: expires, uses_left: left, observe, roles } = token.data;
  const isConnected = enrolled.some((node) => node.is_connected);
  return (
    <section className="card" aria-label="Enrol the node">
      <div className="card-body">
        <ol className="steps">
          <li data-done={enrolled.length > 0 || undefined}>
            <div className="stack-s">
              <h2>Install the agent on the new machine</h2>
              <Command text="apt install ./lampas-agent_*.deb" />
            </div>
          </li>
          <li data-done={enrolled.length > 0 || undefined}>
            <div className="stack-s">
              <h2>Run this there as root</h2>
              {made === undefined ? (
                <p className="dim">The command was shown once, and stands nowhere. {state === 'waiting' && <>If it is lost, withdraw the token below and make another. This one lives until <Time at={expires} absolute /> and works {left <= 1 ? 'once' : `for ${plural(left, 'more node')}`}.</>}</p>
              ) : (
                <>
                  <Command text={withToken(made.command, made.secret)} />
                  <p className="dim small">The token is shown this once. It lives until <Time at={expires} absolute /> and works {left <= 1 ? 'once' : `for ${plural(left, 'more node')}`}. The node checks the controller by the token, and the controller the node.</p>
                </>
              )}
            </div>
          </li>
          <li data-done={isConnected || undefined}>
            <div className="stack-s">
              <h2>Start the agent</h2>
              <Command text="systemctl enable --now lampas-agent" />
            </div>
          </li>
          <li data-done={isConnected || undefined}>
            <div className="stack-s" aria-live="polite">
              <h2>{isConnected ? (observe === true ? 'Connected, observing' : 'Connected') : enrolled.length > 0 ? 'Enrolled, connecting …' : state === 'waiting' ? 'Waiting for the node …' : `The token is ${state}`}</h2>
              <Failure error={token.error} />
              {enrolled.length === 0 && state === 'waiting' && <p className="dim">This page shows the node as soon as it is there. You can leave it and come back{made !== undefined && '; only the command is not shown again'}.</p>}
              {enrolled.map((node) => (
                <div key={node.id} className="row-wrap">
                  <StateBadge state={!node.is_connected ? 'waiting' : observe === true ? 'observing' : 'online'} />
                  <Link to="/nodes/$node" params={{ node: node.name }}><strong>{node.name}</strong></Link>
                  <span className="dim">{node.about}</span>
                </div>
              ))}
              {isConnected && observe === true && <p className="dim">Nothing is written there. Compare it with its role, import what you want to keep, and take it over on its page.</p>}
              <div className="row" style={{ marginTop: 8 }}>
                {isConnected && (observe === true ? <AfterObserving token={token.data} /> : <Link to="/config/new" search={{ kind: 'cron', scope: roles[0] === undefined ? 'fleet' : `role:${roles[0]}` }}>Write its first cron job</Link>)}
                <Button size="xs" variant="default" onClick={onAnother}>Enrol another</Button>
              </div>
            </div>
          </li>
        </ol>
      </div>
    </section>
  );
}

/** The way of a node that observes: what stands there, and then taking it over, on its page. */
function AfterObserving({ token }: { token: EnrolToken }) {
  const [role] = token.roles;
  return (
    <>
      {role !== undefined && <Link to="/roles/$role/compare" params={{ role }}>Compare and import</Link>}
      {token.enrolled.slice(0, 1).map((node) => <Link key={node.id} to="/nodes/$node" params={{ node: node.name }}>Take over {node.name} …</Link>)}
    </>
  );
}

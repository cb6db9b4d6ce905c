// What the controller says about a draft: findings, and the next runs of a cron job.
import type { ReactNode } from 'react';
import type { Finding, Kind, NextRun } from '@/api/schema';
import { Failure } from '@/ui/Notice';
import { ShapeMark } from '@/ui/ShapeMark';
import { Time } from '@/ui/Time';
import { WallTime } from '@/ui/WallTime';
import type { Check } from './useCheck';

interface Props {
  check: Check;
  kind: Kind;
  isNamed: boolean;
  /** Says that another object has the name. */
  taken?: ReactNode;
  /** What a parser found in the script, and what follows from that. */
  syntax?: { findings: readonly Finding[]; words: string } | undefined;
}

export function CheckCard({ check, kind, isNamed, taken, syntax }: Props) {
  const { answer } = check;
  const canBeSaved = answer !== undefined && taken === undefined && answer.problems.every((finding) => finding.severity === 'warning');
  return (
    <section className="card" aria-labelledby="check" aria-live="polite" aria-busy={check.isAsking}>
      <div className="card-head"><h2 id="check" className="grow">Check</h2>{check.isAsking && isNamed && <span className="dim small">checking …</span>}</div>
      <div className="card-body stack-s">
        <Failure error={check.error} />
        {answer === undefined && check.error === null && <p className="dim">{isNamed ? 'Asking the controller …' : 'The controller checks as soon as it has a name.'}</p>}
        {taken !== undefined && <p className="row" style={{ alignItems: 'flex-start' }}><span style={{ marginTop: 4 }}><ShapeMark shape="square" tone="red" size={10} /></span><span><span className="sr">error: </span>{taken}</span></p>}
        {canBeSaved && syntax === undefined && <p className="row"><ShapeMark shape="check" tone="green" /> It can be saved as it is{answer.problems.length > 0 && '; somebody should look at this'}.</p>}
        {canBeSaved && syntax !== undefined && <p className="row" style={{ alignItems: 'flex-start' }}><span style={{ marginTop: 4 }}><ShapeMark shape="triangle" tone="amber" size={10} /></span><span>{syntax.words}</span></p>}
        {[...(syntax?.findings ?? []), ...(answer?.problems ?? [])].map((finding) => <Found key={`${finding.field}:${finding.line ?? ''}:${finding.column ?? ''}:${finding.message}`} finding={finding} />)}
        {kind === 'cron' && answer !== undefined && answer.next_runs.length > 0 && <NextRuns runs={answer.next_runs} zone={answer.time_zone ?? undefined} />}
      </div>
    </section>
  );
}

function Found({ finding }: { finding: Finding }) {
  const isError = finding.severity === 'error';
  return (
    <p className="row" style={{ alignItems: 'flex-start' }}>
      <span style={{ marginTop: 4 }}><ShapeMark shape={isError ? 'square' : 'triangle'} tone={isError ? 'red' : 'amber'} size={10} /></span>
      <span><span className="sr">{finding.severity}: </span>{!finding.message.startsWith(finding.field) && <strong>{finding.field} </strong>}{finding.line != null && (finding.column == null ? `line ${finding.line}: ` : `line ${finding.line}, column ${finding.column}: `)}{finding.message}</span>
    </p>
  );
}

export function NextRuns({ runs, zone }: { runs: readonly NextRun[]; zone: string | undefined }) {
  return (
    <div>
      <h3>Next runs {zone !== undefined && <span className="dim" style={{ fontWeight: 400 }}>({zone})</span>}</h3>
      <ol className="run-list">
        {runs.map((run) => (
          <li key={run.at}>
            <WallTime at={run.at} wall={run.local} />
            <span className="dim"><Time at={run.at} /></span>
            {run.note != null && run.note !== '' && <span className="tone-amber">{run.note}</span>}
          </li>
        ))}
      </ol>
    </div>
  );
}

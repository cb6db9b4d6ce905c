// What the controller says about a draft: findings, and the next runs of a cron job.
import type { ReactNode } from 'react';
import type { Kind, NextRun } from '@/api/schema';
import { Failure } from '@/ui/Notice';
import { ShapeMark } from '@/ui/ShapeMark';
import { Time } from '@/ui/Time';
import type { Check } from './useCheck';

/** `taken` says that another object has the name. */
export function CheckCard({ check, kind, isNamed, taken }: { check: Check; kind: Kind; isNamed: boolean; taken?: ReactNode }) {
  const { answer } = check;
  return (
    <section className="card" aria-labelledby="check" aria-live="polite" aria-busy={check.isAsking}>
      <div className="card-head"><h2 id="check" className="grow">Check</h2>{check.isAsking && isNamed && <span className="dim small">checking …</span>}</div>
      <div className="card-body stack-s">
        <Failure error={check.error} />
        {answer === undefined && check.error === null && <p className="dim">{isNamed ? 'Asking the controller …' : 'The controller checks as soon as it has a name.'}</p>}
        {taken !== undefined && <p className="row" style={{ alignItems: 'flex-start' }}><span style={{ marginTop: 4 }}><ShapeMark shape="square" tone="red" size={10} /></span><span><span className="sr">error: </span>{taken}</span></p>}
        {answer !== undefined && taken === undefined && answer.problems.every((finding) => finding.severity === 'warning') && <p className="row"><ShapeMark shape="check" tone="green" /> It can be saved as it is{answer.problems.length > 0 && '; somebody should look at this'}.</p>}
        {answer?.problems.map((finding) => (
          <p key={`${finding.field}:${finding.line ?? ''}:${finding.column ?? ''}:${finding.message}`} className="row" style={{ alignItems: 'flex-start' }}>
            <span style={{ marginTop: 4 }}><ShapeMark shape={finding.severity === 'error' ? 'square' : 'triangle'} tone={finding.severity === 'error' ? 'red' : 'amber'} size={10} /></span>
            <span><span className="sr">{finding.severity}: </span>{!finding.message.startsWith(finding.field) && <strong>{finding.field} </strong>}{finding.line != null && (finding.column == null ? `line ${finding.line}: ` : `line ${finding.line}, column ${finding.column}: `)}{finding.message}</span>
          </p>
        ))}
        {kind === 'cron' && answer !== undefined && answer.next_runs.length > 0 && <NextRuns runs={answer.next_runs} zone={answer.time_zone ?? undefined} />}
      </div>
    </section>
  );
}

export function NextRuns({ runs, zone }: { runs: readonly NextRun[]; zone: string | undefined }) {
  return (
    <div>
      <h3>Next runs {zone !== undefined && <span className="dim" style={{ fontWeight: 400 }}>({zone})</span>}</h3>
      <ol className="run-list">
        {runs.map((run) => (
          <li key={run.at}>
            <span className="mono" title={run.at}>{run.local.slice(0, 16).replace('T', ' ')}</span>
            <span className="dim"><Time at={run.at} /></span>
            {run.note != null && run.note !== '' && <span className="tone-amber">{run.note}</span>}
          </li>
        ))}
      </ol>
    </div>
  );
}

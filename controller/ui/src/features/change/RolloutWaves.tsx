// The waves as columns: a dot for each node, filled when the node has proven its hash, in its place from the start, so
// that nothing jumps; of great waves their counts. Between the columns stand the checks.
import { Link } from '@tanstack/react-router';
import type { ChangeNode, RolloutView, RolloutWave } from '@/api/schema';
import { AppLink } from '@/components/AppLink';
import { STEPS, total } from '@/components/progress';
import { ProgressBar } from '@/components/ProgressBar';
import { look } from '@/theme/status';
import { number, plural } from '@/ui/plural';
import { ShapeMark } from '@/ui/ShapeMark';
import { span } from '@/ui/time';
import { nodeLook } from './LandingCard';
import { byName, gateAfter, type GateLook, heldAt, isBeyond } from './rollout';

// The rest stands with the operation.
const SHOWN_ANSWERS = 3;

export function RolloutWaves({ rollout, nodes }: { rollout: RolloutView; nodes: readonly ChangeNode[] | undefined }) {
  const known = nodes === undefined ? undefined : byName(nodes);
  const soak = rollout.strategy.soak_secs;
  return (
    <ol className="rollout-waves" aria-label="Waves">
      {rollout.waves.map((wave, index) => {
        const gate = gateAfter(rollout, index);
        const isNow = index + 1 === rollout.wave && rollout.state !== 'done' && heldAt(rollout) === undefined;
        return (
          <li key={index} className="rollout-step">
            <div className="rollout-wave" data-now={isNow || undefined} aria-current={isNow ? 'step' : undefined}>
              <h3>{isBeyond(rollout, index) ? 'Not yet: wave' : 'Wave'} {index + 1} <span className="dim num">{plural(total(wave.progress), 'node')}</span></h3>
              {known === undefined || wave.nodes.length < total(wave.progress) ? <Counts wave={wave} /> : <Dots wave={wave} known={known} />}
            </div>
            {(gate !== undefined || index + 1 < rollout.waves.length) && <Between gate={gate} soak={soak} />}
          </li>
        );
      })}
    </ol>
  );
}

function Dots({ wave, known }: { wave: RolloutWave; known: ReadonlyMap<string, ChangeNode> }) {
  return (
    <div className="rollout-dots">
      {wave.nodes.map(({ id, name }) => {
        const node = known.get(name);
        const { tone, shape, word } = look(node === undefined ? 'waiting' : nodeLook(node));
        const text = `${name}: ${word}${node?.since_apply_ms == null ? '' : ` after ${span(node.since_apply_ms)}`}`;
        return <Link key={id} to="/nodes/$node" params={{ node: name }} title={text} aria-label={text}><ShapeMark shape={shape} tone={tone} size={14} /></Link>;
      })}
    </div>
  );
}

function Counts({ wave }: { wave: RolloutWave }) {
  return (
    <div className="stack-tight">
      <ProgressBar progress={wave.progress} />
      <ul className="rollout-counts">
        {STEPS.filter((step) => (wave.progress[step.key] ?? 0) > 0).map((step) => (
          <li key={step.key} className="state"><ShapeMark shape={look(step.state).shape} tone={look(step.state).tone} size={10} /><span className="num">{number(wave.progress[step.key] ?? 0)}</span> {look(step.state).word}</li>
        ))}
      </ul>
    </div>
  );
}

function Between({ gate, soak }: { gate: GateLook | undefined; soak: number }) {
  if (gate === undefined) return <div className="rollout-between" data-plain="" aria-hidden="true"><span className="rollout-line" /></div>;
  const { tone, shape } = look(gate.state);
  return (
    <div className="rollout-between">
      <span className="rollout-line" aria-hidden="true" />
      <div className="rollout-gate-text">
        <span className="state"><ShapeMark shape={shape} tone={tone} /><span style={{ color: `var(--${tone})` }}>{gate.word}</span></span>
        <ul>
          {gate.rows.map((row) => (
            <li key={row.command}>
              <code className="rollout-command" title={row.command}>{row.command}</code>
              {row.text !== '' && <span className="dim">{row.text}{row.operation !== undefined && <>, <AppLink path={`/operations/${row.operation}`}>operation {row.operation}</AppLink></>}</span>}
              {row.answers.length > 0 && (
                <ul className="rollout-answers" aria-label={`What nodes answered to ${row.command}`}>
                  {row.answers.slice(0, SHOWN_ANSWERS).map((answer) => <li key={answer.node.id}><span className="dim">{answer.node.name}</span> {answer.text}</li>)}
                  {row.answers.length > SHOWN_ANSWERS && <li className="dim">and {row.answers.length - SHOWN_ANSWERS} more</li>}
                </ul>
              )}
            </li>
          ))}
          {soak > 0 && <li className="dim">{gate.isCut === true ? 'had not stayed well for the whole' : 'stays well for'} {span(soak * 1000)}</li>}
        </ul>
      </div>
    </div>
  );
}

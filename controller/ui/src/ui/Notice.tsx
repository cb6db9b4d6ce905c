// A few sentences that must be seen: what happened, what it means, what to do.
import { ApiError } from '@/api/client';
import { Icon } from './Icon';
import { WithTimes } from './WithTimes';

interface Props {
  tone?: 'info' | 'warn' | 'bad' | 'good';
  title?: React.ReactNode;
  children?: React.ReactNode;
  action?: React.ReactNode;
}

export function Notice({ tone = 'info', title, children, action }: Props) {
  return (
    <div className={`notice notice-${tone}`} role={tone === 'bad' ? 'alert' : 'status'}>
      <Icon name={tone === 'info' ? 'info' : tone === 'good' ? 'check' : 'alert'} size={18} />
      <div className="grow">
        {title !== undefined && <div className="strong">{title}</div>}
        {children !== undefined && <div className="notice-text">{children}</div>}
      </div>
      {action}
    </div>
  );
}

/** A failed request: what is wrong said once, the field named; of a fault of the controller's the id under which its log has it. */
export function Failure({ error, retry }: { error: unknown; retry?: React.ReactNode }) {
  if (error === null || error === undefined) return null;
  const problem = error instanceof ApiError ? error.problem : undefined;
  const detail = problem?.detail ?? (error instanceof Error ? error.message : 'No more is known about it.');
  const fields = problem?.fields ?? [];
  const subject = fields.find((field) => field.detail === detail);
  const rest = fields.filter((field) => field !== subject && !detail.includes(field.detail));
  return (
    <Notice tone="bad" title={problem?.title ?? 'Something went wrong'} action={retry}>
      <p>{subject !== undefined && <><strong>{nameOf(subject.pointer)}</strong> </>}<WithTimes text={detail} /></p>
      {rest.length > 0 && (
        <ul>
          {rest.map((field) => (
            <li key={field.pointer + field.detail}><strong>{nameOf(field.pointer)}</strong> <WithTimes text={field.detail} /></li>
          ))}
        </ul>
      )}
      {problem !== undefined && problem.status >= 500 && problem.request !== undefined && problem.request !== '' && <p className="dim small">Request <code>{problem.request}</code> in the controller's log.</p>}
    </Notice>
  );
}

/** Returns a field's name in words: "/rollout/soak_secs" is "rollout soak secs". */
function nameOf(pointer: string): string {
  return pointer.replace(/^\//, '').replaceAll(/[_/]/g, ' ');
}

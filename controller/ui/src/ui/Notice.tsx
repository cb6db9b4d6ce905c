// A few sentences that must be seen: what happened, what it means, what to do.
import { ApiError } from '@/api/client';
import { Icon } from './Icon';

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

/** A failed request, with its fields and the id under which the controller's log has it. */
export function Failure({ error, retry }: { error: unknown; retry?: React.ReactNode }) {
  if (error === null || error === undefined) return null;
  const problem = error instanceof ApiError ? error.problem : undefined;
  return (
    <Notice tone="bad" title={problem?.title ?? 'Something went wrong'} action={retry}>
      <p>{problem?.detail ?? (error instanceof Error ? error.message : 'No more is known about it.')}</p>
      {problem?.fields !== undefined && problem.fields.length > 0 && (
        <ul>
          {problem.fields.map((field) => (
            <li key={field.pointer + field.detail}><code>{field.pointer}</code> {field.detail}</li>
          ))}
        </ul>
      )}
      {problem?.request !== undefined && problem.request !== '' && <p className="dim small">Request <code>{problem.request}</code> in the controller's log.</p>}
    </Notice>
  );
}

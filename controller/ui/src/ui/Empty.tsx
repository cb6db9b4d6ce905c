// Nothing to show: says why, and what to do next, with the command that does it.
import { Copy } from './Copy';
import { Mark } from './Mark';

export function Empty({ title, children, command, action }: { title: string; children?: React.ReactNode; command?: string; action?: React.ReactNode }) {
  return (
    <div className="empty">
      <Mark size={28} />
      <h2>{title}</h2>
      {children !== undefined && <p className="dim">{children}</p>}
      {command !== undefined && <Command text={command} />}
      {action}
    </div>
  );
}

/** A command to copy. */
export function Command({ text, label = 'Copy the command' }: { text: string; label?: string }) {
  return (
    <div className="command">
      <pre><code>{text}</code></pre>
      <Copy text={text} label={label} />
    </div>
  );
}

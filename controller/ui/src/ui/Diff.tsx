// A unified diff: line numbers, signs (never colour alone), long ones folded until asked for.
import { useMemo, useState } from 'react';
import { diffSize, parseDiff } from './diff';

const FOLD_AT = 60;

export function Diff({ text, label }: { text: string; label: string }) {
  const lines = useMemo(() => parseDiff(text), [text]);
  const [isOpen, setOpen] = useState(false);
  if (lines.length === 0) return <p className="dim small">No difference in its content.</p>;
  const shown = isOpen ? lines : lines.slice(0, FOLD_AT);
  return (
    <div className="diff">
      <div className="diff-lines" tabIndex={0} role="group" aria-label={label}>
        {shown.map((line, index) => (
          <div key={index} className={`diff-line diff-${line.kind}`}>
            {line.kind === 'hunk' || line.kind === 'note' ? (
              <span className="diff-text">{line.text}</span>
            ) : (
              <>
                <span className="diff-no" aria-hidden="true">{line.old ?? ''}</span>
                <span className="diff-no" aria-hidden="true">{line.new ?? ''}</span>
                <span className="diff-sign">{line.kind === 'add' ? '+' : line.kind === 'del' ? '−' : ' '}</span>
                <span className="diff-text">{line.text === '' ? ' ' : line.text}</span>
              </>
            )}
          </div>
        ))}
      </div>
      {lines.length > FOLD_AT && (
        <button type="button" className="diff-more" onClick={() => { setOpen(!isOpen); }}>
          {isOpen ? 'Fold' : `Show ${lines.length - FOLD_AT} more lines`}
        </button>
      )}
    </div>
  );
}

/** "+3 −1", for a line above a folded diff. */
export function DiffSize({ text }: { text: string }) {
  const { added, removed } = useMemo(() => diffSize(parseDiff(text)), [text]);
  if (added + removed === 0) return null;
  return (
    <span className="num small">
      {added > 0 && <span className="tone-green">+{added}</span>} {removed > 0 && <span className="tone-red">−{removed}</span>}
    </span>
  );
}

// The editor, loaded when it is needed. What the shell's parser says of a script joins what the controller found.
import { lazy, Suspense, useMemo, type ComponentProps } from 'react';
import { BlockSkeleton } from '@/ui/Skeletons';
import { dialectOf } from './shell';
import { useShell } from './useShell';

const CodeEditor = lazy(() => import('./CodeEditor'));

interface Props extends ComponentProps<typeof CodeEditor> {
  /** What was found is listed elsewhere on the page; here it only marks its lines. */
  isListedElsewhere?: boolean;
}

export function Code({ isListedElsewhere = false, findings, ...props }: Props) {
  const parsed = useShell(props.value, props.language === 'shell' ? dialectOf(props.value) : undefined);
  const all = useMemo(() => [...(findings ?? []), ...parsed], [findings, parsed]);
  return (
    <div>
      <span className="label">{props.label}</span>
      <Suspense fallback={<BlockSkeleton height={240} />}>
        <CodeEditor {...props} findings={all} />
      </Suspense>
      <div aria-live="polite">
        {!isListedElsewhere && all.map((finding) => (
          <p key={`${finding.line ?? ''}:${finding.column ?? ''}:${finding.message}`} className={finding.severity === 'error' ? 'error-text' : 'hint'} style={{ marginTop: 4 }}>
            {place(finding)}{finding.message}
          </p>
        ))}
      </div>
    </div>
  );
}

function place(finding: { line?: number | null; column?: number | null }): string {
  if (finding.line == null) return '';
  return finding.column == null ? `line ${finding.line}: ` : `line ${finding.line}, column ${finding.column}: `;
}

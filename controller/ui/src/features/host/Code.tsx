// The editor, loaded when it is needed.
import { lazy, Suspense, type ComponentProps } from 'react';
import { BlockSkeleton } from '@/ui/Skeletons';

const CodeEditor = lazy(() => import('./CodeEditor'));

interface Props extends ComponentProps<typeof CodeEditor> {
  /** What was found is listed elsewhere on the page; here it only marks its lines. */
  isListedElsewhere?: boolean;
}

export function Code({ isListedElsewhere = false, ...props }: Props) {
  return (
    <div>
      <span className="label">{props.label}</span>
      <Suspense fallback={<BlockSkeleton height={240} />}>
        <CodeEditor {...props} />
      </Suspense>
      {!isListedElsewhere && props.findings?.map((finding) => (
        <p key={finding.message} className={finding.severity === 'error' ? 'error-text' : 'hint'} style={{ marginTop: 4 }}>
          {finding.line != null && `line ${finding.line}: `}{finding.message}
        </p>
      ))}
    </div>
  );
}

// The editor, loaded when it is needed.
import { lazy, Suspense, type ComponentProps } from 'react';
import { BlockSkeleton } from '@/ui/Skeletons';

const CodeEditor = lazy(() => import('./CodeEditor'));

export function Code(props: ComponentProps<typeof CodeEditor>) {
  return (
    <div>
      <span className="label">{props.label}</span>
      <Suspense fallback={<BlockSkeleton height={240} />}>
        <CodeEditor {...props} />
      </Suspense>
      {props.findings?.map((finding) => (
        <p key={finding.message} className={finding.severity === 'error' ? 'error-text' : 'hint'} style={{ marginTop: 4 }}>
          {finding.line != null && `line ${finding.line}: `}{finding.message}
        </p>
      ))}
    </div>
  );
}

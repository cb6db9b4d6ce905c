// The draft beside the current revision: contents side by side in the editor, everything else as a list of fields.
import { lazy, Suspense } from 'react';
import { Button } from '@mantine/core';
import type { ObjectSpec } from '@/api/schema';
import { BlockSkeleton } from '@/ui/Skeletons';

const MergeView = lazy(() => import('./MergeEditor'));

export function Compare({ before, after, onClose }: { before: ObjectSpec; after: ObjectSpec; onClose: () => void }) {
  return (
    <section className="card" aria-labelledby="compare">
      <div className="card-head"><h2 id="compare" className="grow">Current revision and draft</h2><Button size="xs" variant="subtle" color="gray" onClick={onClose}>Hide</Button></div>
      <div className="card-body">
        <Suspense fallback={<BlockSkeleton />}>
          <MergeView before={asText(before)} after={asText(after)} />
        </Suspense>
      </div>
    </section>
  );
}

/** Writes a spec as lines: the fields first, then the content as it stands. */
function asText(spec: ObjectSpec): string {
  const { content, ...rest } = spec.body as { content?: string } & Record<string, unknown>;
  const fields: Record<string, unknown> = { name: spec.name, scope: spec.scope, drift: spec.drift, ...rest };
  const lines = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return content === undefined ? lines.join('\n') : `${lines.join('\n')}\n\n${content}`;
}

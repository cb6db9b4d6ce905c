// The object as it stands in a manifest: to copy, to keep in a repository, to apply elsewhere.
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { exportQuery } from '@/api/queries';
import type { Object as FleetObject } from '@/api/schema';
import { Copy } from '@/ui/Copy';
import { Icon } from '@/ui/Icon';
import { Failure, Notice } from '@/ui/Notice';
import { BlockSkeleton } from '@/ui/Skeletons';
import { Code } from './Code';
import { download, tableOf } from './manifest';

export function ManifestView({ object }: { object: FleetObject }) {
  const manifest = useQuery(exportQuery({ scope: object.scope, kind: object.kind }));
  if (manifest.data === undefined) return manifest.error === null ? <BlockSkeleton /> : <Failure error={manifest.error} />;
  const text = tableOf(manifest.data.manifest, object.kind, object.name);
  if (text === undefined) return <Notice>{object.is_deleted ? 'A deleted object stands in no manifest. Restore a revision under History first.' : 'The export has no such object: it was renamed or deleted a moment ago.'}</Notice>;
  return (
    <section className="card" aria-labelledby="manifest">
      <div className="card-head">
        <h2 id="manifest">As TOML</h2>
        <span className="dim small grow">for <code>lampasctl apply -f</code>, or Import on another controller</span>
        <Button size="xs" variant="default" leftSection={<Icon name="download" size={14} />} onClick={() => { download(`${object.kind}-${object.name}.toml`, `${text}\n`); }}>Download</Button>
        <Copy text={`${text}\n`} label="Copy the manifest" />
      </div>
      <div className="card-body"><Code label="Manifest" value={text} onChange={() => undefined} language="toml" isReadOnly /></div>
    </section>
  );
}

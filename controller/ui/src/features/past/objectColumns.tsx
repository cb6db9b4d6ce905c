// How objects of the past are listed.
import type { PastObject } from '@/api/schema';
import { KIND_ICONS } from '@/components/kinds';
import { ScopeText } from '@/components/ScopeText';
import type { Column } from '@/ui/DataTable';
import { Icon } from '@/ui/Icon';
import { Time } from '@/ui/Time';

export const objectColumns: readonly Column<PastObject>[] = [
  { id: 'name', head: 'Object', cell: (row) => <><Icon name={KIND_ICONS[row.key.kind]} /> <span className="ellipsis">{row.key.name}</span></> },
  { id: 'scope', head: 'Scope', from: 'sm', grow: true, cell: (row) => <ScopeText scope={row.key.scope} /> },
  { id: 'revision', head: 'Revision', right: true, cell: (row) => row.revision },
  { id: 'author', head: 'By', from: 'md', cell: (row) => row.author },
  { id: 'at', head: 'Saved', from: 'sm', right: true, cell: (row) => <Time at={row.at} absolute="in-column" /> },
];

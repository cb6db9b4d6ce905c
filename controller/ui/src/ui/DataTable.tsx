// A table whose rows are links: sticky head, 36 px rows, `j` and `k` move, `x` selects, Enter opens.
import { useRef } from 'react';
import { Checkbox } from '@mantine/core';
import { Link, useNavigate, type LinkProps } from '@tanstack/react-router';
import { useListKeys } from '@/keys/useListKeys';

export interface Column<T> {
  id: string;
  head: string;
  cell: (row: T) => React.ReactNode;
  /** Numbers stand at the right, in tabular figures. */
  right?: boolean;
  /** The first width at which the column is shown; below, it is left out. */
  from?: 'sm' | 'md' | 'lg';
  /** Takes what room is left and cuts long texts. */
  grow?: boolean;
}

interface Props<T> {
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  idOf: (row: T) => string;
  /** Where a row leads; the link stands in its first cell. */
  to?: (row: T) => LinkProps;
  nameOf?: (row: T) => string;
  selected?: ReadonlySet<string>;
  onSelect?: (next: ReadonlySet<string>) => void;
}

export function DataTable<T>({ label, columns, rows, idOf, to, nameOf, selected, onSelect }: Props<T>) {
  const body = useRef<HTMLTableSectionElement>(null);
  const navigate = useNavigate();
  useListKeys(body);
  const all = rows.length > 0 && rows.every((row) => selected?.has(idOf(row)));
  const some = rows.some((row) => selected?.has(idOf(row)));
  const toggle = (id: string): void => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    onSelect?.(next);
  };
  const open = (event: React.MouseEvent, row: T): void => {
    const isControl = event.target instanceof Element && event.target.closest('a, button, input, label') !== null;
    if (to === undefined || isControl || (window.getSelection()?.toString() ?? '') !== '') return;
    void navigate(to(row) as Parameters<typeof navigate>[0]);
  };
  return (
    <div className="table-box">
      <table className="table" aria-label={label}>
        <thead>
          <tr>
            {onSelect !== undefined && (
              <th className="cell-check">
                <Checkbox size="xs" aria-label="Select all rows shown" checked={all} indeterminate={some && !all} onChange={() => { onSelect(new Set(all ? [] : rows.map(idOf))); }} />
              </th>
            )}
            {columns.map((column) => <th key={column.id} scope="col" className={classOf(column)}>{column.head === '' ? <span className="sr">Actions</span> : column.head}</th>)}
          </tr>
        </thead>
        <tbody ref={body}>
          {rows.map((row) => {
            const id = idOf(row);
            return (
              <tr key={id} data-row={id} className={to === undefined ? undefined : 'row-link'} aria-selected={selected?.has(id)} onClick={(event) => { open(event, row); }}>
                {onSelect !== undefined && (
                  <td className="cell-check">
                    <Checkbox size="xs" aria-label={`Select ${nameOf?.(row) ?? id}`} checked={selected?.has(id) ?? false} onChange={() => { toggle(id); }} />
                  </td>
                )}
                {columns.map((column, index) => (
                  <td key={column.id} className={classOf(column)}>
                    {index === 0 && to !== undefined ? <Link {...to(row)} className="row-name" data-row-link="">{column.cell(row)}</Link> : column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function classOf<T>(column: Column<T>): string {
  return [column.right === true && 'right', column.from !== undefined && `from-${column.from}`, column.grow === true && 'grow-cell'].filter(Boolean).join(' ');
}

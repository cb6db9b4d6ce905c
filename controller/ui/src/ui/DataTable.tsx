// A table whose rows are links: sticky head, 36 px rows, `j` and `k` move, `x` selects, `v` looks, Enter opens.
import { useRef } from 'react';
import { Checkbox } from '@mantine/core';
import { Link, useNavigate, type LinkProps } from '@tanstack/react-router';
import { Icon } from './Icon';
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
  /** Does so on a phone, where others are left out. */
  lead?: boolean;
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
  /** Opens a quick look at the row beside the list. */
  onLook?: (row: T) => void;
  /** The row that is looked at. */
  looked?: string | undefined;
}

export function DataTable<T>({ label, columns, rows, idOf, to, nameOf, selected, onSelect, onLook, looked }: Props<T>) {
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
              <tr key={id} data-row={id} className={to === undefined ? undefined : 'row-link'} data-looked={(looked !== undefined && looked === (nameOf?.(row) ?? id)) || undefined} aria-selected={selected?.has(id)} onClick={(event) => { open(event, row); }}>
                {onSelect !== undefined && (
                  <td className="cell-check">
                    <Checkbox size="xs" aria-label={`Select ${nameOf?.(row) ?? id}`} checked={selected?.has(id) ?? false} onChange={() => { toggle(id); }} />
                  </td>
                )}
                {columns.map((column, index) => (
                  <td key={column.id} className={classOf(column)}>
                    {index === 0 && to !== undefined ? <Link {...to(row)} className="row-name" data-row-link="">{column.cell(row)}</Link> : column.cell(row)}
                    {index === 0 && onLook !== undefined && (
                      <button type="button" className="plain row-look" data-row-look="" title="Quick look (v)" aria-label={`Quick look at ${nameOf?.(row) ?? id}`} onClick={() => { onLook(row); }}><Icon name="look" size={15} /></button>
                    )}
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
  return [column.right === true && 'right', column.from !== undefined && `from-${column.from}`, column.grow === true && 'grow-cell', column.lead === true && 'lead-cell'].filter(Boolean).join(' ');
}

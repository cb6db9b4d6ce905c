// The audit as a file: what the filter shows, or all of it.
import { Button, Menu } from '@mantine/core';
import { root } from '@/api/client';
import type { AuditFilter } from '@/api/queries';
import { Icon } from '@/ui/Icon';

function link(filter: AuditFilter, format: 'jsonl' | 'csv'): string {
  const address = new URL('api/v1/audit/export', root);
  address.searchParams.set('format', format);
  for (const name of ['principal', 'act', 'object', 'text', 'since', 'until'] as const) {
    const value = filter[name];
    if (value !== undefined) address.searchParams.set(name, value);
  }
  return address.href;
}

export function ExportMenu({ filter }: { filter: AuditFilter }) {
  return (
    <Menu position="bottom-end">
      <Menu.Target><Button variant="default" rightSection={<Icon name="down" size={14} />}>Export</Button></Menu.Target>
      <Menu.Dropdown>
        <Menu.Item component="a" href={link(filter, 'jsonl')} download>What is shown, as JSON lines</Menu.Item>
        <Menu.Item component="a" href={link(filter, 'csv')} download>What is shown, as CSV</Menu.Item>
        <Menu.Item component="a" href={link({}, 'jsonl')} download>All of it, as JSON lines</Menu.Item>
        <Menu.Label>Check a file: lampasctl audit verify FILE</Menu.Label>
      </Menu.Dropdown>
    </Menu>
  );
}

// Cutting a manifest: each object's table whole, however its content looks.
import { expect, it } from 'vitest';
import { tableOf, tables } from './manifest';

const manifest = `[[file]]
name = "motd"
scope = "fleet"
content = '''
[[cron]]
name = "not-a-job"
'''

[[cron]]
name = "tidy"
scope = "fleet"
schedule = "17 3 * * *"

[[file]]
name = "tidy"
content = """one ''' two"""
path = "/etc/tidy"
`;

it('a content that looks like a table is none', () => {
  expect(tables(manifest)).toHaveLength(3);
  expect(tableOf(manifest, 'cron', 'not-a-job')).toBeUndefined();
});

it('finds by kind and name, and takes the whole table', () => {
  expect(tableOf(manifest, 'cron', 'tidy')).toBe('[[cron]]\nname = "tidy"\nscope = "fleet"\nschedule = "17 3 * * *"');
  expect(tableOf(manifest, 'file', 'tidy')).toContain('path = "/etc/tidy"');
  expect(tableOf(manifest, 'file', 'motd')).toMatch(/'''$/);
});

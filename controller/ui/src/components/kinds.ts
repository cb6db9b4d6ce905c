// The kinds of objects as the dashboard names and draws them.
import type { Kind } from '@/api/schema';
import type { IconName } from '@/ui/Icon';

export const KINDS_OF_OBJECTS: readonly Kind[] = ['cron', 'hosts', 'script', 'file', 'directory', 'link', 'sudoers', 'sysctl', 'service', 'user', 'group', 'package', 'apt_source', 'var', 'secret'];

export const KIND_TITLES: Record<Kind, string> = { cron: 'Cron jobs', hosts: 'Hosts entries', script: 'Scripts', file: 'Files', directory: 'Directories', link: 'Links', sudoers: 'Sudo rules', sysctl: 'Kernel settings', service: 'Services', user: 'Users', group: 'Groups', package: 'Packages', apt_source: 'Package sources', var: 'Variables', secret: 'Secrets', unsupported: 'Unknown kinds' };

export const KIND_NOUNS: Record<Kind, string> = { cron: 'cron job', hosts: 'hosts entry', script: 'script', file: 'file', directory: 'directory', link: 'link', sudoers: 'sudo rules', sysctl: 'kernel setting', service: 'service', user: 'user', group: 'group', package: 'package', apt_source: 'package source', var: 'variable', secret: 'secret', unsupported: 'unknown kind' };

export const NEW_TITLES: Record<Kind, string> = { cron: 'New cron job', hosts: 'New hosts entry', script: 'New script', file: 'New file', directory: 'New directory', link: 'New link', sudoers: 'New sudo rules', sysctl: 'New kernel setting', service: 'New service', user: 'New user', group: 'New group', package: 'New package', apt_source: 'New package source', var: 'New variable', secret: 'New secret', unsupported: 'Unknown kind' };

export const KIND_ICONS: Record<Kind, IconName> = { cron: 'jobs', hosts: 'hosts', script: 'script', file: 'config', directory: 'folder', link: 'link', sudoers: 'key', sysctl: 'system', service: 'service', user: 'users', group: 'roles', package: 'package', apt_source: 'package', var: 'config', secret: 'key', unsupported: 'info' };

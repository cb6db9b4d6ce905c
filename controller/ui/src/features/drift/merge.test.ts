import { describe, expect, it } from 'vitest';
import type { MergePart } from '@/api/schema';
import { asDiff, resolved } from './merge';

const part = (kind: MergePart['kind'], template: string, node = ''): MergePart => ({ kind, template, node, why: '', can_take_node: true });

describe('a merge', () => {
  const parts = [part('kept', 'a\n'), part('taken', 'b\n', 'B\n'), part('conflict', 'c={{var.c}}\n', 'c=1\n'), part('kept', 'd')];
  it('is whole when every conflict is decided', () => {
    expect(resolved(parts, {})).toBeUndefined();
    expect(resolved(parts, { 2: { take: 'template' } })).toBe('a\nB\nc={{var.c}}\nd');
    expect(resolved(parts, { 2: { take: 'node' } })).toBe('a\nB\nc=1\nd');
    expect(resolved(parts, { 2: { take: 'own', text: 'c={{var.c}}1' } })).toBe('a\nB\nc={{var.c}}1\nd');
    expect(resolved(parts, { 2: { take: 'own', text: '' } })).toBe('a\nB\nd');
  });
  it('does not end a last line that somebody left open', () => {
    expect(resolved([part('conflict', 'c', 'd')], { 0: { take: 'own', text: 'e' } })).toBe('e');
  });
  it('shows of what stays only what is near', () => {
    const kept = part('kept', '1\n2\n3\n4\n5\n6\n7\n8\n9\n');
    expect(asDiff(kept, 1, true, true).match(/^ .$/gm)).toEqual([' 1', ' 2', ' 3', ' 7', ' 8', ' 9']);
    expect(asDiff(kept, 1, false, true).match(/^ .$/gm)).toEqual([' 7', ' 8', ' 9']);
    expect(asDiff(part('taken', 'x\n', 'y\n'), 4, true, true)).toBe('@@ -4,1 +4,1 @@\n-x\n+y\n');
  });
});

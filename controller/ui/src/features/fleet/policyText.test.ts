import { expect, test } from 'vitest';
import type { NodePolicy } from '@/api/schema';
import { rootCode, writes } from './policyText';

const open: NodePolicy = { has_file: false, observe: false, root_code: true, require_signature: false, deny_paths: [], signers: [] };

test('a policy is told by what it allows', () => {
  expect(rootCode(open).text).toBe('yes');
  expect(rootCode({ ...open, require_signature: true }).text).toBe('with an operator’s signature');
  expect(rootCode({ ...open, root_code: false, require_signature: true }).text).toBe('no');
  expect(rootCode({ ...open, malformed: 'line 1' }).tone).toBe('red');
  expect(rootCode(null).text).toBe('not told');
  expect(writes({ ...open, observe: true }).text).toBe('nothing');
});

// What a node's own policy allows: its owner's word, which no controller can change.
import { Link } from '@tanstack/react-router';
import type { NodePolicy } from '@/api/schema';
import { FactList } from '@/ui/Facts';
import { Notice } from '@/ui/Notice';
import { rootCode, writes, type PolicyWord } from './policyText';

export function PolicyCard({ policy }: { policy: NodePolicy | null | undefined }) {
  const malformed = policy?.malformed ?? '';
  const paths = (list: readonly string[]) => <span className="mono">{list.join(', ')}</span>;
  return (
    <section className="card" aria-labelledby="policy">
      <div className="card-head"><h2 id="policy" className="grow">What its own policy allows</h2><Link to="/policies" className="small">All nodes</Link></div>
      <div className="card-body stack-s">
        {policy == null ? (
          <p className="dim">Its agent does not tell; an agent of this version does.</p>
        ) : (
          <>
            {malformed !== '' && <Notice tone="warn" title="The policy can’t be followed">{malformed}</Notice>}
            <FactList
              items={[
                ['LAMPAS writes', <Word key="writes" word={writes(policy)} />],
                ['Root code', <Word key="root" word={rootCode(policy)} />],
                ['Not touched', policy.deny_paths.length === 0 ? <span key="none" className="dim">no path is denied</span> : paths(policy.deny_paths)],
                ['Signatures of', policy.signers.length === 0 ? <span key="none" className="dim">nobody: no /etc/lampas/allowed_signers</span> : paths(policy.signers)],
                ['File', policy.has_file ? <code key="file">/etc/lampas/policy.toml</code> : <span key="file" className="dim">none; then everything is allowed</span>],
              ]}
            />
          </>
        )}
      </div>
    </section>
  );
}

export function Word({ word }: { word: PolicyWord }) {
  return <span className={word.tone === 'dim' || word.tone === 'green' ? (word.tone === 'dim' ? 'dim' : undefined) : `tone-${word.tone}`}>{word.text}</span>;
}

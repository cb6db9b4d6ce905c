// The card of the pages before the sign-in.
import { useWithoutShell } from '@/frame/shell';
import { Mark } from '@/ui/Mark';

export function AuthCard({ title, lead, children }: { title: string; lead?: React.ReactNode; children: React.ReactNode }) {
  useWithoutShell();
  return (
    <main className="auth">
      <div className="auth-card">
        <div className="auth-brand"><Mark size={34} /><span>LAMPAS</span></div>
        <h1>{title}</h1>
        {lead !== undefined && <p className="dim">{lead}</p>}
        {children}
      </div>
    </main>
  );
}

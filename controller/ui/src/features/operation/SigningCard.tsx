// An operation that waits for an operator's signature: the command to type, and what would be signed, whole.
import { useQuery } from '@tanstack/react-query';
import { api, take } from '@/api/client';
import type { OperationSummary } from '@/api/schema';
import { Failure, Notice } from '@/ui/Notice';
import { Time } from '@/ui/Time';

interface Order {
  argv: string[];
  user: string;
  environment: Record<string, string>;
  secrets?: Record<string, { name: string }>;
  program?: { content: string } | null;
}

export function SigningCard({ summary, mayRead }: { summary: OperationSummary; mayRead: boolean }) {
  const operation = String(summary.number);
  const signing = useQuery({
    queryKey: ['operations', 'signing', operation],
    queryFn: () => take(api.GET('/api/v1/operations/{operation}/signing', { params: { path: { operation } } })),
    enabled: mayRead,
    retry: false,
  });
  return (
    <section aria-label="What is to be signed" className="stack-s">
      <Notice tone="warn" title="Waits for an operator’s signature">
        Nothing starts before. Somebody whose key the nodes know types: <code>lampasctl run sign {operation} --key FILE</code>, until <Time at={summary.signing?.until ?? summary.created_at} />. It shows the exact statement before it signs; with <code>--print</code> it can be signed elsewhere.
      </Notice>
      <Failure error={signing.error} />
      {signing.data?.parts.map((part, at) => (
        <div key={at} className="card">
          <div className="card-head"><h2>On {part.nodes.map((node) => node.name).join(', ')}</h2></div>
          <div className="card-body stack-s">
            {(part.run ?? []).map((place) => <Run key={place} order={JSON.parse(signing.data.runs?.[place]?.order ?? '{"argv":[],"user":"","environment":{}}') as Order} script={signing.data.runs?.[place]?.script ?? undefined} />)}
          </div>
        </div>
      ))}
    </section>
  );
}

function Run({ order, script }: { order: Order; script: string | undefined }) {
  const text = order.program?.content ?? script;
  return (
    <>
      <p className="op-argv" aria-label="Arguments as the program gets them">{order.argv.map((word, at) => <code key={at}>{word === '' ? '""' : word}</code>)} <span className="dim">as {order.user}</span></p>
      {Object.entries(order.environment).map(([name, value]) => <p key={name} className="small"><code>{name}={value}</code></p>)}
      {Object.entries(order.secrets ?? {}).map(([name, used]) => <p key={name} className="small"><code>{name}</code> is secret {used.name}</p>)}
      {text !== undefined && <pre className="mono">{text}</pre>}
    </>
  );
}

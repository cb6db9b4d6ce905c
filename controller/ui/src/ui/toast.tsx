// Short messages at the lower edge: what an act did, with a link to it. Failures stay until they are closed.
import { useSyncExternalStore } from 'react';
import { Icon } from './Icon';
import { WithTimes } from './WithTimes';

interface Toast {
  id: number;
  tone: 'good' | 'bad';
  text: React.ReactNode;
}

const LIFE_MS = 5_000;
let toasts: readonly Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();

function set(next: readonly Toast[]): void {
  toasts = next;
  listeners.forEach((listener) => { listener(); });
}

function close(id: number): void {
  set(toasts.filter((toast) => toast.id !== id));
}

export function toast(text: React.ReactNode, tone: Toast['tone'] = 'good'): void {
  last += 1;
  const id = last;
  set([...toasts.slice(-3), { id, tone, text }]);
  if (tone === 'good') window.setTimeout(() => { close(id); }, LIFE_MS);
}

/** Says that an act failed, in the controller's words. */
export function toastFailure(error: unknown): void {
  toast(<WithTimes text={error instanceof Error ? error.message : String(error)} />, 'bad');
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <div className="toasts" aria-live="polite">
      {shown.map((each) => (
        <div key={each.id} className={`toast toast-${each.tone}`} role={each.tone === 'bad' ? 'alert' : 'status'}>
          <Icon name={each.tone === 'bad' ? 'alert' : 'check'} />
          <span className="grow">{each.text}</span>
          <button type="button" className="plain" aria-label="Close the message" onClick={() => { close(each.id); }}><Icon name="close" size={14} /></button>
        </div>
      ))}
    </div>
  );
}

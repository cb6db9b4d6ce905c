// On the way to an identity provider and back. The address that the provider sends the browser to is read when the page
// loads: the router cleans it, and a code is not to stand in the history.
import { api, take } from '@/api/client';
import type { ProviderRedirect, ProviderReturn } from '@/api/schema';

/** What the provider's redirect brought, as it stood in the address. */
export const returned = new URLSearchParams(window.location.search);

/** What stood behind `#`: of an invitation, the provider and the secret. */
export const fragment = window.location.hash.replace(/^#/, '');

const PLACE = 'lampas-after-provider';

/** Where to go on after the way back. */
export function placeAfter(): string | null {
  return window.sessionStorage.getItem(PLACE);
}

/** Goes to the provider's page, and remembers where to go on. */
function leave({ url }: ProviderRedirect, after: string): void {
  window.sessionStorage.setItem(PLACE, after);
  window.location.assign(url);
}

export async function signInWith(provider: string, after: string, invitation?: string): Promise<void> {
  leave(await take(api.POST('/api/v1/session/provider', { body: { provider, ...(invitation === undefined ? {} : { invitation }) } })), after);
}

export async function linkWith(provider: string): Promise<void> {
  leave(await take(api.POST('/api/v1/session/identities', { body: { provider } })), '/account');
}

/** What the redirect brought, for the controller. */
export function broughtBack(): ProviderReturn {
  const body: ProviderReturn = {};
  const [state, code, issuer, error] = ['state', 'code', 'iss', 'error'].map((name) => returned.get(name));
  if (state != null) body.state = state;
  if (code != null) body.code = code;
  if (issuer != null) body.issuer = issuer;
  if (error != null) body.error = error;
  return body;
}

const CHANNEL = 'lampas-proof';

/** Tells the page that waits in another tab. */
export function tellProven(): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage('proven');
  channel.close();
}

/** Calls back when another tab has shown who sits here; returns how to stop. */
export function whenProven(then: () => void): () => void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = then;
  return () => { channel.close(); };
}

/** Opens the provider in a tab of its own, so that nothing of this page is lost. */
export async function proveWith(provider: string): Promise<void> {
  // Opened within the click: afterwards browsers take it for advertising.
  const tab = window.open('about:blank', '_blank');
  try {
    const { url } = await take(api.POST('/api/v1/session/proof/provider', { body: { provider } }));
    if (tab === null) throw new Error('The browser opened no tab: allow pop-ups for this page, and try again.');
    tab.location.href = url;
  } catch (error) {
    tab?.close();
    throw error;
  }
}

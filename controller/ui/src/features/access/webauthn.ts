// Security keys, as the browser knows them: from the controller's request to the device and back. Bytes travel as base64url.
import type { KeyAnswer, KeyCreation, KeyRef, KeyRequest, SecurityKeyAdd } from '@/api/schema';

/** Whether this browser can ask security keys at all. */
export const hasWebAuthn = typeof window !== 'undefined' && 'PublicKeyCredential' in window;

/** Whether this page stands where keys work; browsers bind them to its address. */
export function isKeyPlace(url: string | null | undefined): boolean {
  return url !== null && url !== undefined && new URL(url).origin === window.location.origin;
}

/** Asks for a new key; returns what the controller registers. */
export async function createKey(asked: KeyCreation): Promise<Omit<SecurityKeyAdd, 'name'>> {
  const made = await said(() => navigator.credentials.create({
    publicKey: {
      challenge: bytes(asked.challenge),
      rp: { id: asked.rp_id, name: asked.rp_name },
      user: { id: bytes(asked.user_handle), name: asked.user_name, displayName: asked.user_name },
      pubKeyCredParams: asked.algorithms.map((alg) => ({ type: 'public-key' as const, alg })),
      excludeCredentials: asked.exclude.map(descriptor),
      authenticatorSelection: { residentKey: 'preferred', userVerification: 'preferred' },
      attestation: 'none',
      extensions: { credProps: true },
      timeout: asked.timeout_ms,
    },
  }));
  const response = made.response as AuthenticatorAttestationResponse;
  return {
    client_data: text(response.clientDataJSON),
    attestation: text(response.attestationObject),
    transports: response.getTransports(),
    is_discoverable: made.getClientExtensionResults().credProps?.rk === true,
  };
}

/** Asks a key; `mustVerify` wants it to ask for a PIN or a finger itself. */
export async function askKey(asked: KeyRequest, mustVerify = asked.must_verify): Promise<KeyAnswer> {
  const given = await said(() => navigator.credentials.get({
    publicKey: {
      challenge: bytes(asked.challenge),
      rpId: asked.rp_id,
      allowCredentials: asked.allow.map(descriptor),
      userVerification: mustVerify ? 'required' : 'preferred',
      timeout: asked.timeout_ms,
    },
  }));
  const response = given.response as AuthenticatorAssertionResponse;
  return {
    id: text(given.rawId),
    client_data: text(response.clientDataJSON),
    authenticator_data: text(response.authenticatorData),
    signature: text(response.signature),
    ...(response.userHandle === null || response.userHandle.byteLength === 0 ? {} : { user_handle: text(response.userHandle) }),
  };
}

function descriptor({ id, transports }: KeyRef): PublicKeyCredentialDescriptor {
  return { type: 'public-key', id: bytes(id), ...(transports.length === 0 ? {} : { transports: transports as AuthenticatorTransport[] }) };
}

/** Turns what browsers call their refusals into sentences that say what to do. */
async function said(ask: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  try {
    const credential = await ask();
    if (credential instanceof PublicKeyCredential) return credential;
  } catch (error) {
    throw new Error(sentence(error), { cause: error });
  }
  throw new Error('The browser returned no key. Try again.');
}

function sentence(error: unknown): string {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'InvalidStateError') return 'This key is registered already.';
  if (name === 'NotAllowedError') return 'No key answered: the browser’s dialog was closed, it took too long, no key fits, or the browser doesn’t trust this page’s certificate.';
  if (name === 'SecurityError') return 'The browser doesn’t let this page use security keys: they need a host name, not an address, and a certificate that the browser trusts.';
  return error instanceof Error ? error.message : String(error);
}

function bytes(coded: string): Uint8Array<ArrayBuffer> {
  const plain = atob(coded.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function text(buffer: ArrayBuffer): string {
  const plain = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join('');
  return btoa(plain).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

// The first questions are asked by a few lines in the page's head, while the dashboard's code is still on its way
// (`index.html`). Each answer is taken once, and only by the first paint.

declare global {
  var lampasEarly: Map<string, Promise<Response>> | undefined;
}

const KNOWN = 'lampas.known';

// Later than this an answer is old: the question is asked again.
const FRESH_MS = 10_000;

/** `fetch`, but for a question that the page's head has asked already. */
export async function fetchOrEarly(request: Request): Promise<Response> {
  const early = globalThis.lampasEarly;
  const asked = request.method === 'GET' && performance.now() < FRESH_MS ? early?.get(request.url) : undefined;
  if (early === undefined || asked === undefined) return fetch(request);
  early.delete(request.url);
  try {
    const answer = await asked;
    // Nobody is signed in: what else was asked has the same answer, and must not be taken after the sign-in.
    if (answer.status === 401) early.clear();
    return answer;
  } catch {
    return fetch(request);
  }
}

/** Remembers in this browser whether somebody is signed in, for the outline and the early questions of the next visit. */
export function rememberKnown(isKnown: boolean): void {
  try {
    if (isKnown) localStorage.setItem(KNOWN, '');
    else localStorage.removeItem(KNOWN);
  } catch {
    // Without a storage the next visit only starts a little later.
  }
}

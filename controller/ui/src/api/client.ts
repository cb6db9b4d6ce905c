// The one way to the API: the client generated from its OpenAPI document, with the session's CSRF token on every
// writing request and every failure turned into an `ApiError` that says what happened.
import createClient, { type Middleware } from 'openapi-fetch';
import { fetchOrEarly } from './early';
import type { paths, Problem } from './schema';

/** Where the dashboard stands, with a slash at its end: the page's `<base>`, which the controller writes. */
export const root = new URL('.', document.baseURI);

/** A failed request. `problem.detail` is made for people. */
export class ApiError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
  get status(): number {
    return this.problem.status;
  }
}

let csrfToken = '';
let onSignedOut: () => void = () => undefined;

/** Sets the value of `X-CSRF-Token` for what follows. */
export function setCsrfToken(token: string): void {
  csrfToken = token;
}

/** Sets what happens when the session turns out to be over. */
export function setSignedOutHandler(handler: () => void): void {
  onSignedOut = handler;
}

/** What asks the user for a proof: for root code, which is listed, or for what is grave by itself. Resolves to whether there is one. */
type Prover = (rootCode: readonly string[]) => Promise<boolean>;

let prover: Prover | undefined;

/** Sets what asks who sits there when a call is grave; returns how to take it away. */
export function setProver(next: Prover): () => void {
  prover = next;
  return () => { prover = undefined; };
}

/** Copies of writing requests under way: a body can be sent once, and what is grave is sent again after the proof. */
const copies = new Map<string, Request>();

/** Where a 401 says that a sign-in failed, not that a session is over. */
const OPEN = ['/session', '/setup', '/session/key-request', '/session/passkey', '/session/provider', '/session/provider/key-request'];

/** Returns the root code that a proof is asked for, if the answer is that a proof is needed; nothing of it where the call is grave by itself. */
async function proofAskedFor(response: Response): Promise<readonly string[] | undefined> {
  if (response.status !== 403) return undefined;
  const problem = await response.clone().json().catch(() => undefined) as Partial<Problem> | null | undefined;
  if (problem?.code === 'reauthentication.root_code') return (problem.fields ?? []).map((field) => field.detail);
  return problem?.code === 'reauthentication.needed' ? [] : undefined;
}

const guard: Middleware = {
  onRequest({ request, id }) {
    if (request.method === 'GET') return request;
    if (csrfToken !== '') request.headers.set('X-CSRF-Token', csrfToken);
    copies.set(id, request.clone());
    return request;
  },
  onError({ id }) {
    copies.delete(id);
  },
  async onResponse({ response, schemaPath, id }) {
    const copy = copies.get(id);
    copies.delete(id);
    if (copy !== undefined && prover !== undefined) {
      const rootCode = await proofAskedFor(response);
      if (rootCode !== undefined && (await prover(rootCode))) return fetchOrEarly(copy);
    }
    if (response.status === 401 && !OPEN.some((path) => schemaPath.endsWith(path))) onSignedOut();
    return undefined;
  },
};

export const api = createClient<paths>({ baseUrl: root.href.replace(/\/$/, ''), credentials: 'same-origin', fetch: fetchOrEarly });
api.use(guard);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Returns the answer's body, or throws an `ApiError`; a request that never arrived says so. */
export async function take<T>(request: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await request;
  } catch (cause) {
    throw new ApiError(unreachable(cause));
  }
  if (!answer.response.ok) throw new ApiError(asProblem(answer.error, answer.response));
  return answer.data as T;
}

function unreachable(cause: unknown): Problem {
  const why = cause instanceof Error ? cause.message : String(cause);
  const detail = `The controller did not answer (${why}). Nothing was changed by this request as far as this page knows; look before you try again.`;
  return { type: 'about:blank', code: 'unreachable', title: 'No answer from the controller', status: 0, detail };
}

function asProblem(body: unknown, response: Response): Problem {
  if (typeof body === 'object' && body !== null && 'title' in body && 'status' in body) return body as Problem;
  const detail = typeof body === 'string' && body.length > 0 && body.length < 400 ? body : `The controller answered ${response.status} without saying why.`;
  return { type: 'about:blank', code: 'http', title: response.statusText || 'Request failed', status: response.status, detail };
}

/** Returns what is wrong with the field whose JSON pointer ends in `name`. */
export function fieldProblem(error: unknown, name: string): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  return error.problem.fields?.find((field) => field.pointer.split('/').includes(name))?.detail;
}

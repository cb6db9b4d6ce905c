// Which shell a script is for, and what its parser says of it: asked of a worker that is loaded with the first script.
import type { Finding } from '@/api/schema';
import type { Answer, Question } from './shell.worker';

export type Dialect = 'posix' | 'bash' | 'mksh' | 'zsh';

/** What the dialects are called where somebody reads them. */
const NAMES: Record<Dialect, string> = { posix: 'sh', bash: 'bash', mksh: 'ksh', zsh: 'zsh' };

const INTERPRETERS: Record<string, Dialect> = { sh: 'posix', dash: 'posix', ash: 'posix', bash: 'bash', ksh: 'mksh', mksh: 'mksh', zsh: 'zsh' };

/** Returns the dialect that the `#!` line names; undefined when it names no shell. */
export function dialectOf(content: string): Dialect | undefined {
  const [first = ''] = content.slice(0, 300).split('\n', 1);
  if (!first.startsWith('#!')) return undefined;
  const words = first.slice(2).trim().split(/\s+/).map((word) => word.split('/').pop() ?? '');
  const program = words[0] === 'env' ? words.slice(1).find((word) => !word.startsWith('-') && !word.includes('=')) : words[0];
  return INTERPRETERS[program ?? ''];
}

/** Returns which character of a line begins at a byte of its UTF-8; both count from 1. */
export function characterAt(line: string, byte: number): number {
  let bytes = 1;
  let characters = 1;
  for (const character of line) {
    if (bytes >= byte) break;
    bytes += new TextEncoder().encode(character).length;
    characters += 1;
  }
  return characters;
}

let worker: Worker | undefined;
let count = 0;
const waiting = new Map<number, (problem: Answer['problem']) => void>();

/** Asks the parser; undefined when the script parses. */
export async function parseShell(text: string, dialect: Dialect): Promise<Finding | undefined> {
  const problem = await ask(text, dialect);
  if (problem === undefined) return undefined;
  const line = text.split('\n')[problem.line - 1] ?? '';
  return { field: 'content', line: problem.line, column: characterAt(line, problem.byte), severity: 'error', message: `${NAMES[dialect]} syntax: ${problem.message.trim()}` };
}

function ask(text: string, dialect: Dialect): Promise<Answer['problem']> {
  const started = (worker ??= start());
  count += 1;
  const question: Question = { id: count, text, dialect };
  return new Promise((resolve) => {
    waiting.set(question.id, resolve);
    started.postMessage(question);
  });
}

function start(): Worker {
  const made = new Worker(new URL('./shell.worker.ts', import.meta.url), { type: 'module', name: 'shell' });
  made.onmessage = (event: MessageEvent<Answer>) => {
    waiting.get(event.data.id)?.(event.data.problem);
    waiting.delete(event.data.id);
  };
  // A browser without it, or a file that is gone after an upgrade: the node's own `sh -n` still looks at the plan.
  made.onerror = () => {
    waiting.forEach((resolve) => { resolve(undefined); });
    waiting.clear();
  };
  return made;
}

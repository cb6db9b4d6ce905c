// What a script with a syntax error means: it can be saved, and what nodes make of it then. Each node checks a script with
// its own interpreter before it lands (`sh -n`, `bash -n`, `perl -c`), and refuses what that one refuses.
import type { Body, Finding } from '@/api/schema';
import { dialectOf, type Dialect } from './shell';

/** The text of a body that some shell would run, and which. */
export function scriptOf(body: Body): { text: string; dialect: Dialect | undefined } {
  switch (body.kind) {
    case 'script':
      return { text: body.content, dialect: dialectOf(body.content) };
    case 'file':
      return { text: body.encoding === 'base64' ? '' : (body.content ?? ''), dialect: body.encoding === 'base64' ? undefined : dialectOf(body.content ?? '') };
    case 'cron':
      // As cron's line runs it: in /bin/sh, with \% read as %.
      return { text: body.command.replaceAll('\\%', '%'), dialect: 'posix' };
    default:
      return { text: '', dialect: undefined };
  }
}

/** The check of a node that stands in the way of a body; undefined where nodes look at nothing. */
function checkerOf(body: Body): string | undefined {
  const content = body.kind === 'script' ? body.content : body.kind === 'file' && body.validate === 'script' ? (body.content ?? '') : '';
  const [first = ''] = content.split('\n', 1);
  if (!first.startsWith('#!')) return undefined;
  const words = first.slice(2).trim().split(/\s+/).map((word) => word.split('/').pop() ?? '');
  const program = words[0] === 'env' ? words.slice(1).find((word) => !word.startsWith('-') && !word.includes('=')) : words[0];
  return { sh: 'sh -n', dash: 'sh -n', bash: 'bash -n', perl: 'perl -c' }[program ?? ''];
}

/** Returns what follows from a script that does not parse; undefined when nothing was found. */
export function syntaxWords(body: Body, found: readonly Finding[]): string | undefined {
  const wrong = found.find((finding) => finding.severity === 'error');
  if (wrong === undefined) return undefined;
  if (body.kind === 'cron') return 'It can be saved, and fails each time it runs.';
  const checker = checkerOf(body);
  if (checker === undefined) return 'It can be saved; no node checks it before it lands, and it fails when it is run.';
  // What another dialect has is sometimes refused only where it is run.
  return wrong.message.includes('tried parsing as') ? `It can be saved, but each node checks it with ${checker} and refuses what that does; the rest fails when it is run.` : `It can be saved, but nodes will refuse it: each checks it with ${checker} before it lands.`;
}

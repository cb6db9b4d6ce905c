// A merge as the page shows it: what goes in by itself as a diff, conflicts with what was decided about each.
import type { MergePart } from '@/api/schema';

/** What somebody decided about a conflict. */
export type Choice = { take: 'template' | 'node' } | { take: 'own'; text: string };

/** Returns the merged text; nothing while a conflict waits. The choices are by the conflicts' places among the parts. */
export function resolved(parts: readonly MergePart[], choices: Readonly<Record<number, Choice>>): string | undefined {
  let text = '';
  for (const [index, part] of parts.entries()) {
    if (part.kind !== 'conflict') {
      text += part.kind === 'taken' ? part.node : part.template;
      continue;
    }
    const choice = choices[index];
    if (choice === undefined) return undefined;
    if (choice.take !== 'own') text += part[choice.take];
    else if (choice.text !== '') text += choice.text.endsWith('\n') || isLast(parts, index) ? choice.text : `${choice.text}\n`;
  }
  return text;
}

function isLast(parts: readonly MergePart[], index: number): boolean {
  return parts.slice(index + 1).every((part) => part.template === '' && part.node === '');
}

const CONTEXT = 3;

/** Writes a piece that nobody decides about as a unified diff; of what stays a few lines beside its neighbours. */
export function asDiff(part: MergePart, at: number, hasBefore: boolean, hasAfter: boolean): string {
  const old = lines(part.template);
  if (part.kind === 'kept') {
    const head = hasBefore ? CONTEXT : 0;
    const tail = hasAfter ? CONTEXT : 0;
    if (old.length <= head + tail + 1) return hunk(at, old.map((line) => ` ${line}`));
    return hunk(at, old.slice(0, head).map((line) => ` ${line}`)) + hunk(at + old.length - tail, old.slice(old.length - tail).map((line) => ` ${line}`));
  }
  return hunk(at, [...old.map((line) => `-${line}`), ...lines(part.node).map((line) => `+${line}`)]);
}

/** Counts the lines of a text. */
export function lineCount(text: string): number {
  return lines(text).length;
}

function hunk(at: number, body: string[]): string {
  const count = (sign: string) => body.filter((line) => !line.startsWith(sign)).length;
  return body.length === 0 ? '' : `@@ -${at},${count('+')} +${at},${count('-')} @@\n${body.join('\n')}\n`;
}

function lines(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}

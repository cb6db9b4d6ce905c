// Parses shell scripts, away from the page: mvdan/sh as WebAssembly. The controller gives this one file a policy of its
// own that allows WebAssembly and nothing else; the page's stays without.
import { getProcessor, ParseError } from 'sh-syntax';
import wasmUrl from 'sh-syntax/main.wasm?url';
import type { Dialect } from './shell';

export interface Question {
  id: number;
  text: string;
  dialect: Dialect;
}

export interface Answer {
  id: number;
  /** What is wrong first; undefined when it parses. Line and byte of the line count from 1. */
  problem: { message: string; line: number; byte: number } | undefined;
}

// The parser's names for the dialects (mvdan/sh 3.13).
const VARIANTS: Record<Dialect, number> = { bash: 1, posix: 2, mksh: 4, zsh: 16 };

let compiled: Promise<WebAssembly.Module> | undefined;

async function instantiate(imports: WebAssembly.Imports): Promise<WebAssembly.Instance> {
  compiled ??= fetch(wasmUrl).then(async (answer) => WebAssembly.compile(await answer.arrayBuffer()));
  return WebAssembly.instantiate(await compiled, imports);
}

const parse = getProcessor(instantiate);

async function look({ id, text, dialect }: Question): Promise<Answer> {
  try {
    await parse(text, { filepath: '', variant: VARIANTS[dialect] });
    return { id, problem: undefined };
  } catch (error) {
    if (error instanceof ParseError) return { id, problem: { message: error.Text, line: error.Pos?.Line ?? 1, byte: error.Pos?.Col ?? 1 } };
    // What belongs to another dialect is told as text alone: "NAME:1:3: arrays are a bash feature; tried parsing as posix".
    const [, line, byte, message] = /^[^:]*:?(\d+):(\d+): (.*)$/s.exec(error instanceof Error ? error.message : '') ?? [];
    if (message === undefined) throw error;
    return { id, problem: { message, line: Number(line), byte: Number(byte) } };
  }
}

self.onmessage = (event: MessageEvent<Question>) => {
  // Whatever else fails (memory, a file that is gone after an upgrade): no findings rather than wrong ones.
  look(event.data).then((answer) => { self.postMessage(answer); }, () => { self.postMessage({ id: event.data.id, problem: undefined } satisfies Answer); });
};

// Output of runs as lines: pieces of bytes in, lines of coloured segments out. What a node sends is never more than text:
// colours are taken from it, all other terminal sequences are dropped, and what could hide or reorder text is shown.
import type { OutputPiece, OutputStream } from '@/api/schema';
import { visible } from '@/ui/diff';

export interface Segment {
  text: string;
  /** 0 to 7, as in "31"; bright ones are 8 to 15. */
  colour?: number;
  bold?: boolean;
}

export interface Line {
  run: string;
  stream: OutputStream | 'gap';
  segments: Segment[];
  /** Its place among the lines of its run, from 1. */
  number: number;
}

interface Style {
  colour: number | undefined;
  bold: boolean;
}

interface Open {
  decoder: TextDecoder;
  text: string;
  style: Style;
}

interface Run {
  at: number;
  lines: number;
  open: Map<string, Open>;
}

/** The most lines that are held; the first ones go when there are more. */
export const MOST_LINES = 200_000;
/** A line without an end is cut here. */
const MOST_LINE = 16_384;

/** Takes pieces as they come, and keeps their lines. */
export class Output {
  lines: Line[] = [];
  /** How many lines were let go at the front. */
  dropped = 0;
  /** How many bytes are missing between the lines. */
  missing = 0;
  private readonly runs = new Map<string, Run>();

  /** Takes a piece. A step between two pieces of a run becomes a line that says how much is missing. */
  take(piece: OutputPiece): void {
    const run = this.run(piece.run);
    const all = Uint8Array.from(atob(piece.data), (c) => c.charCodeAt(0));
    if (piece.start > run.at) this.gap(piece.run, run, piece.start - run.at);
    const end = piece.start + all.length;
    if (end <= run.at && run.at > 0) return;
    // What came before is shown once, also when only a part of the piece did.
    const bytes = all.subarray(Math.max(0, run.at - piece.start));
    run.at = end;
    let open = run.open.get(piece.stream);
    if (open === undefined) {
      open = { decoder: new TextDecoder(), text: '', style: { colour: undefined, bold: false } };
      run.open.set(piece.stream, open);
    }
    open.text += open.decoder.decode(bytes, { stream: true });
    const parts = open.text.split('\n');
    open.text = parts.pop() ?? '';
    for (const part of parts) this.push(piece.run, run, piece.stream, part, open.style);
    while (open.text.length > MOST_LINE) {
      this.push(piece.run, run, piece.stream, open.text.slice(0, MOST_LINE), open.style);
      open.text = open.text.slice(MOST_LINE);
    }
    if (this.lines.length > MOST_LINES) {
      const extra = this.lines.length - MOST_LINES;
      this.lines.splice(0, extra);
      this.dropped += extra;
    }
  }

  /** Ends the lines that have no end yet. */
  finish(): void {
    for (const [id, run] of this.runs) {
      for (const [stream, open] of run.open) {
        const rest = open.text + open.decoder.decode();
        open.text = '';
        if (rest !== '') this.push(id, run, stream as OutputStream, rest, open.style);
      }
    }
  }

  private run(id: string): Run {
    let run = this.runs.get(id);
    if (run === undefined) {
      run = { at: 0, lines: 0, open: new Map() };
      this.runs.set(id, run);
    }
    return run;
  }

  private gap(id: string, run: Run, missing: number): void {
    run.lines += 1;
    this.missing += missing;
    this.lines.push({ run: id, stream: 'gap', segments: [{ text: `${missing.toLocaleString('en')} bytes are left out here` }], number: run.lines });
  }

  private push(id: string, run: Run, stream: OutputStream, text: string, style: Style): void {
    run.lines += 1;
    this.lines.push({ run: id, stream, segments: coloured(text.replace(/\r$/, ''), style), number: run.lines });
  }
}

// The sequences that terminals take (ECMA-48).
const SEQUENCE = /\u001b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|.)/g;

/** Takes the colours out of a line; `style` goes on over lines, as on a terminal. Of what a carriage return overwrote, the last stays. */
export function coloured(line: string, style: Style): Segment[] {
  const last = line.slice(line.lastIndexOf('\r') + 1);
  const segments: Segment[] = [];
  const add = (text: string): void => {
    if (text === '') return;
    segments.push({ text: visible(text), ...(style.colour === undefined ? {} : { colour: style.colour }), ...(style.bold ? { bold: true } : {}) });
  };
  let from = 0;
  for (const match of last.matchAll(SEQUENCE)) {
    add(last.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === 'm') apply(match[1] ?? '', style);
  }
  add(last.slice(from));
  return segments;
}

function apply(parameters: string, style: Style): void {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0;
    if (code === 0) {
      style.colour = undefined;
      style.bold = false;
    } else if (code === 1) style.bold = true;
    else if (code === 22) style.bold = false;
    else if (code >= 30 && code <= 37) style.colour = code - 30;
    else if (code >= 90 && code <= 97) style.colour = code - 82;
    else if (code === 39) style.colour = undefined;
    else if (code === 38 || code === 48) at += codes[at + 1] === 5 ? 2 : 4;
  }
}

export function textOf(line: Line): string {
  return line.segments.map((segment) => segment.text).join('');
}

import { describe, expect, it } from 'vitest';
import type { OutputPiece } from '@/api/schema';
import { coloured, Output, textOf } from './output';

const piece = (start: number, text: string, more: Partial<OutputPiece> = {}): OutputPiece => ({ seq: 1, run: 'r', start, stream: 'stdout', after_ms: 0, data: btoa(text), ...more });

describe('lines', () => {
  it('are put together from pieces, cut anywhere', () => {
    const output = new Output();
    // "ü" is two bytes, and comes in two pieces.
    output.take(piece(0, 'a\nb\xc3'));
    output.take(piece(4, '\xbcc\nlast'));
    expect(output.lines.map(textOf)).toEqual(['a', 'büc']);
    output.finish();
    expect(output.lines.map((line) => line.number)).toEqual([1, 2, 3]);
  });
  it('keep their streams apart and say what is missing', () => {
    const output = new Output();
    output.take(piece(0, 'out'));
    output.take(piece(3, 'err\n', { stream: 'stderr' }));
    output.take(piece(1007, 'put\n'));
    expect(output.lines.map((line) => [line.stream, textOf(line)])).toEqual([['stderr', 'err'], ['gap', '1,000 bytes are left out here'], ['stdout', 'output']]);
    expect(output.missing).toBe(1000);
  });
  it('that come a second time are not shown twice', () => {
    const output = new Output();
    output.take(piece(0, 'a\n'));
    output.take(piece(0, 'a\n'));
    expect(output.lines).toHaveLength(1);
    output.take(piece(0, 'a\nb\n'));
    expect(output.lines.map(textOf)).toEqual(['a', 'b']);
  });
});

describe('terminal sequences', () => {
  it('give colours and nothing else', () => {
    const style = { colour: undefined, bold: false };
    expect(coloured('\u001b[1;31mred\u001b[0m plain\u001b[2J\u001b]0;title\u0007!', style)).toEqual([{ text: 'red', colour: 1, bold: true }, { text: ' plain' }, { text: '!' }]);
    expect(coloured('10%\r100%', style)).toEqual([{ text: '100%' }]);
    expect(coloured('\u001b[38;5;200mx', style)).toEqual([{ text: 'x' }]);
  });
});

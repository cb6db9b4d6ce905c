// Reads a unified diff into lines to show. Control and bidi characters are made visible: what is shown is what is
// there, whatever a file tries to look like.

export interface DiffLine {
  kind: 'add' | 'del' | 'same' | 'hunk' | 'note';
  text: string;
  old?: number;
  new?: number;
}

export function parseDiff(diff: string): DiffLine[] {
  const lines: DiffLine[] = [];
  let oldLine = 0;
  let newLine = 0;
  // A new file's hunk begins at line 0 of the old one: only before the first hunk can a line be a head.
  let isInHunk = false;
  for (const raw of diff.replace(/\n$/, '').split('\n')) {
    const hunk = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/.exec(raw);
    if (hunk !== null) {
      oldLine = Number(hunk[1]);
      newLine = Number(hunk[2]);
      isInHunk = true;
      lines.push({ kind: 'hunk', text: visible(raw) });
    } else if ((raw.startsWith('--- ') || raw.startsWith('+++ ')) && !isInHunk) {
      continue;
    } else if (raw.startsWith('+')) {
      lines.push({ kind: 'add', text: visible(raw.slice(1)), new: newLine++ });
    } else if (raw.startsWith('-')) {
      lines.push({ kind: 'del', text: visible(raw.slice(1)), old: oldLine++ });
    } else if (raw.startsWith('\\') || !isInHunk) {
      if (raw !== '') lines.push({ kind: 'note', text: visible(raw) });
    } else {
      lines.push({ kind: 'same', text: visible(raw.slice(1)), old: oldLine++, new: newLine++ });
    }
  }
  return lines;
}

/** Counts what a diff adds and takes away. */
export function diffSize(lines: readonly DiffLine[]): { added: number; removed: number } {
  return { added: lines.filter((line) => line.kind === 'add').length, removed: lines.filter((line) => line.kind === 'del').length };
}

/** Writes control characters, bidi overrides and invisible spaces as their code points. */
export function visible(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu, (char) => `⟨U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

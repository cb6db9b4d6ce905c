// What a diff shows is what is there.
import { describe, expect, it } from 'vitest';
import { diffSize, parseDiff, visible } from './diff';

describe('parseDiff', () => {
  it('numbers the lines of both sides', () => {
    const lines = parseDiff('--- a\n+++ b\n@@ -3,3 +3,3 @@\n same\n-old\n+new\n last\n');
    expect(lines.map((line) => [line.kind, line.old, line.new, line.text])).toEqual([
      ['hunk', undefined, undefined, '@@ -3,3 +3,3 @@'],
      ['same', 3, 3, 'same'],
      ['del', 4, undefined, 'old'],
      ['add', undefined, 4, 'new'],
      ['same', 5, 5, 'last'],
    ]);
    expect(diffSize(lines)).toEqual({ added: 1, removed: 1 });
  });

  it('takes a removed line that looks like a head for what it is', () => {
    const lines = parseDiff('@@ -1,2 +1,1 @@\n--- not a head\n same\n');
    expect(lines[1]).toMatchObject({ kind: 'del', text: '-- not a head' });
  });

  it('shows a line of a new file that looks like a head', () => {
    const lines = parseDiff('--- a\n+++ b\n@@ -0,0 +1,2 @@\n+first\n+++ second\n');
    expect(lines.map((line) => [line.kind, line.new, line.text])).toEqual([
      ['hunk', undefined, '@@ -0,0 +1,2 @@'],
      ['add', 1, 'first'],
      ['add', 2, '++ second'],
    ]);
  });

  it('shows a text without hunks as a note, such as a hash', () => {
    expect(parseDiff('content hidden, blake3 12ab → 34cd')).toEqual([{ kind: 'note', text: 'content hidden, blake3 12ab → 34cd' }]);
  });
});

describe('visible', () => {
  it.each([
    ['a\u202eb', 'a⟨U+202E⟩b'],
    ['a\u{e0041}b', 'a⟨U+E0041⟩b'],
    ['\u001b[31m', '⟨U+001B⟩[31m'],
    ['zero\u200bwidth', 'zero⟨U+200B⟩width'],
    ['soft\u00adhyphen, filler\u3164', 'soft⟨U+00AD⟩hyphen, filler⟨U+3164⟩'],
    ['tab\tstays, ä, 🛡️ too', 'tab\tstays, ä, 🛡️ too'],
  ])('%j', (text, shown) => {
    expect(visible(text)).toBe(shown);
  });
});

// A line becomes the words that the program gets, and the words a line again.
import { expect, it } from 'vitest';
import { lineOf, wordsOf } from './words';

it.each([
  ["/bin/true 'with a space' x", ['/bin/true', 'with a space', 'x']],
  ['/bin/sh -c "echo \\"hi\\""', ['/bin/sh', '-c', 'echo "hi"']],
  ["/bin/echo '' a\\ b", ['/bin/echo', '', 'a b']],
  ['echo $HOME; rm', ['echo', '$HOME;', 'rm']],
  ['  ', []],
  ["/bin/echo 'open", undefined],
])('takes %j apart', (line, words) => {
  expect(wordsOf(line)).toEqual(words);
  if (words !== undefined) expect(wordsOf(lineOf(words))).toEqual(words);
});

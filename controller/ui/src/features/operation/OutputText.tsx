// Output that is there already, as a text: its colours, and nothing else that a terminal would obey.
import { Output } from './output';

// What a text is cut to before its lines are made.
const MOST = 60_000;

/** Shows a text; `last` lines of it when that is given. Nothing when it is empty. */
export function OutputText({ text, last }: { text: string; last?: number }) {
  const output = new Output();
  const data = btoa(String.fromCharCode(...new TextEncoder().encode(text.slice(-MOST))));
  output.take({ seq: 0, run: '', start: 0, stream: 'stdout', after_ms: 0, data });
  output.finish();
  const lines = last === undefined ? output.lines : output.lines.slice(-last);
  return (
    <pre className="output" tabIndex={0} aria-label="Output">
      {lines.map((line, at) => <span key={at}>{line.segments.map((segment, index) => <span key={index} className={segment.bold === true ? 'strong' : undefined} data-ansi={segment.colour}>{segment.text}</span>)}{'\n'}</span>)}
    </pre>
  );
}

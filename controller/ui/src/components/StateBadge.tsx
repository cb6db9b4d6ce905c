// A state in words: shape, colour and word from the one table.
import { ShapeMark } from '@/ui/ShapeMark';
import { look } from '@/theme/status';

interface Props {
  state: string;
  /** More words after the state's own: "4/6", "since 09:12". */
  more?: React.ReactNode;
  /** Only the shape; the word stays for screen readers and in the tooltip. */
  bare?: boolean;
}

export function StateBadge({ state, more, bare = false }: Props) {
  const { tone, shape, word } = look(state);
  if (bare) return <span className="state" title={word} role="img" aria-label={word}><ShapeMark shape={shape} tone={tone} /></span>;
  return (
    <span className="state">
      <ShapeMark shape={shape} tone={tone} />
      <span style={{ color: `var(--${tone})` }}>{word}</span>
      {more !== undefined && <span className="dim">{more}</span>}
    </span>
  );
}

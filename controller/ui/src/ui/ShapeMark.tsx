// The shape of a state, as a small picture; the same outlines that the fleet map draws on its canvas.
import type { Shape, Tone } from '@/theme/status';

export function ShapeMark({ shape, tone, size = 12 }: { shape: Shape; tone: Tone; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 12 12" aria-hidden="true" className="shape" style={{ color: `var(--${tone})` }}>
      {drawings[shape]}
    </svg>
  );
}

const line = { fill: 'none', stroke: 'currentColor', strokeWidth: 1.7, strokeLinecap: 'round', strokeLinejoin: 'round' } as const;

const drawings: Record<Shape, React.ReactNode> = {
  disc: <circle cx="6" cy="6" r="4.6" fill="currentColor" />,
  half: (
    <>
      <circle cx="6" cy="6" r="4.2" {...line} />
      <path d="M6 1.8a4.2 4.2 0 0 0 0 8.4z" fill="currentColor" />
    </>
  ),
  dashed: <circle cx="6" cy="6" r="4.2" {...line} strokeDasharray="1.6 2.8" />,
  diamond: <path d="M6 .8 11.2 6 6 11.2.8 6z" fill="currentColor" />,
  triangle: <path d="M6 1 11.4 10.8H.6z" fill="currentColor" />,
  square: <rect x="1.4" y="1.4" width="9.2" height="9.2" rx="1" fill="currentColor" />,
  ring: <circle cx="6" cy="6" r="4.2" {...line} />,
  eye: (
    <>
      <circle cx="6" cy="6" r="4.4" {...line} />
      <circle cx="6" cy="6" r="1.8" fill="currentColor" />
    </>
  ),
  bars: <path d="M3.8 2v8M8.2 2v8" {...line} strokeWidth={2.2} />,
  check: <path d="M1.8 6.4 4.8 9.4 10.2 3" {...line} strokeWidth={2} />,
  cross: <path d="M2.4 2.4l7.2 7.2M9.6 2.4 2.4 9.6" {...line} strokeWidth={2} />,
  undo: <path d="M4.2 2 1.8 4.4l2.4 2.4M1.8 4.4h5.4a2.8 2.8 0 0 1 0 5.6H4.6" {...line} />,
  dot: <circle cx="6" cy="6" r="2" fill="currentColor" />,
  dash: <path d="M2 6h8" {...line} strokeWidth={2} />,
};

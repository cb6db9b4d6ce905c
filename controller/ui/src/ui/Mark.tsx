// The mark: a flame over a lamp's bowl, the only decoration there is.
export function Mark({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" className="mark">
      <path fill="var(--flame)" d="M12.6 1.5c.5 3.4 4.9 5.6 4.9 10.1a5.5 5.5 0 0 1-11 0c0-2.3 1.2-3.8 2.3-5.1.2 1.4.8 2.2 1.6 2.6-.3-2.9.4-5.6 2.2-7.6Z" />
      <path fill="#ffd27a" d="M12.2 9.3c.2 1.6 2.2 2.4 2.2 4.5a2.4 2.4 0 0 1-4.8 0c0-1.2.7-1.9 1.2-2.5.2.5.4.8.7.9-.1-1.1.1-2.1.7-2.9Z" />
      <path fill="var(--accent)" d="M4 18.5h16c0 2.2-3.4 4-8 4s-8-1.8-8-4Z" />
    </svg>
  );
}

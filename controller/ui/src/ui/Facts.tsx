// Facts in a row, with dots between them.
export function Facts({ items }: { items: React.ReactNode[] }) {
  const shown = items.filter((item) => item !== undefined && item !== null && item !== false && item !== '');
  return (
    <ul className="facts-row">
      {shown.map((item, index) => <li key={index}>{item}</li>)}
    </ul>
  );
}

/** Names and values, one below the other. */
export function FactList({ items }: { items: [string, React.ReactNode][] }) {
  return (
    <dl className="fact-list">
      {items.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

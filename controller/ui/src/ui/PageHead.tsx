// The head of a page: title, one line of facts, the primary action at the right. Also names the browser's tab.
import { useTitle } from './useTitle';

interface Props {
  title: React.ReactNode;
  /** The tab's name; the title when that is a text. */
  tab?: string;
  facts?: React.ReactNode;
  actions?: React.ReactNode;
  above?: React.ReactNode;
}

export function PageHead({ title, tab, facts, actions, above }: Props) {
  const name = tab ?? (typeof title === 'string' ? title : 'LAMPAS');
  useTitle(name);
  return (
    <header className="page-head">
      <div className="grow">
        {above !== undefined && <div className="crumbs">{above}</div>}
        <h1>{title}</h1>
        {facts !== undefined && <div className="facts">{facts}</div>}
      </div>
      {actions !== undefined && <div className="actions">{actions}</div>}
    </header>
  );
}

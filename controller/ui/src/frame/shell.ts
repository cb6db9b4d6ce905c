// The outline of the page that stands in `index.html` until the first real page is here.
import { useLayoutEffect } from 'react';

/** Takes the outline away in the same frame in which the page appears. */
export function useWithoutShell(): void {
  useLayoutEffect(() => { document.getElementById('shell')?.remove(); }, []);
}

// One key for what a form says: sent again because no answer came, or by a second click, it is done once.
import { useCallback, useRef } from 'react';

/** Returns what gives the `Idempotency-Key` for a content: the same while the content is. */
export function useOnce(): (content: string) => string {
  const sent = useRef({ content: '', key: '' });
  return useCallback((content: string) => {
    if (sent.current.key === '' || sent.current.content !== content) sent.current = { content, key: crypto.randomUUID() };
    return sent.current.key;
  }, []);
}

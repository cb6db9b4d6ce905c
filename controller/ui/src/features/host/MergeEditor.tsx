// Two texts in one view, with what differs marked.
import { useEffect, useRef } from 'react';
import { unifiedMergeView } from '@codemirror/merge';
import { EditorState } from '@codemirror/state';
import { EditorView, highlightSpecialChars, lineNumbers } from '@codemirror/view';

const look = EditorView.theme({
  '&': { fontSize: '13px', color: 'var(--text)' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '20px', maxHeight: '480px', overflow: 'auto' },
  '.cm-gutters': { backgroundColor: 'var(--sunken)', color: 'var(--dim)', border: 'none' },
  '.cm-changedLine': { backgroundColor: 'var(--add-bg) !important' },
  '.cm-deletedChunk': { backgroundColor: 'var(--del-bg) !important' },
  '.cm-changedText, .cm-deletedText': { background: 'color-mix(in srgb, var(--focus) 25%, transparent) !important' },
});

export default function MergeEditor({ before, after }: { before: string; after: string }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (place.current === null) return undefined;
    const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? '';
    const view = new EditorView({
      parent: place.current,
      doc: after,
      extensions: [
        EditorView.cspNonce.of(nonce), lineNumbers(), highlightSpecialChars(), EditorState.readOnly.of(true), EditorView.editable.of(false),
        EditorView.contentAttributes.of({ 'aria-label': 'Current revision and draft, compared', tabindex: '0' }),
        unifiedMergeView({ original: before, mergeControls: false, collapseUnchanged: { margin: 3, minSize: 6 } }),
        look,
      ],
    });
    return () => { view.destroy(); };
  }, [before, after]);
  return <div ref={place} className="code" />;
}

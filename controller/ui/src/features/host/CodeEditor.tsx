// The editor for everything that is text: CodeMirror with language, findings in the margin, find and replace. It is
// the same everywhere, and a chunk of its own.
import { useEffect, useEffectEvent, useRef } from 'react';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { bracketMatching, HighlightStyle, indentUnit, StreamLanguage, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState } from '@codemirror/state';
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { perl } from '@codemirror/legacy-modes/mode/perl';
import { properties } from '@codemirror/legacy-modes/mode/properties';
import { python } from '@codemirror/legacy-modes/mode/python';
import { shell } from '@codemirror/legacy-modes/mode/shell';
import { toml } from '@codemirror/legacy-modes/mode/toml';
import { yaml } from '@codemirror/legacy-modes/mode/yaml';
import type { Finding } from '@/api/schema';
import type { Language } from './language';

interface Props {
  label: string;
  value: string;
  onChange: (value: string) => void;
  onSave?: () => void;
  language: Language;
  findings?: readonly Finding[];
  isReadOnly?: boolean;
  /** The height in pixels at which the text begins to scroll. */
  maxHeight?: number;
}

const languages = {
  shell: StreamLanguage.define(shell),
  perl: StreamLanguage.define(perl),
  python: StreamLanguage.define(python),
  toml: StreamLanguage.define(toml),
  yaml: StreamLanguage.define(yaml),
  properties: StreamLanguage.define(properties),
} as const;

const highlighting = HighlightStyle.define([
  { tag: [tags.comment, tags.meta], color: 'var(--dim)', fontStyle: 'italic' },
  { tag: [tags.keyword, tags.operatorKeyword, tags.definitionKeyword], color: 'var(--violet)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--green)' },
  { tag: [tags.number, tags.bool, tags.atom], color: 'var(--amber)' },
  { tag: [tags.variableName, tags.special(tags.variableName)], color: 'var(--blue)' },
  { tag: [tags.definition(tags.variableName), tags.propertyName, tags.attributeName], color: 'var(--blue)' },
  { tag: [tags.standard(tags.variableName), tags.standard(tags.name)], color: 'var(--accent)' },
]);

const look = EditorView.theme({
  '&': { fontSize: '13px', backgroundColor: 'transparent', color: 'var(--text)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '20px', fontVariantLigatures: 'none' },
  '.cm-content': { padding: '8px 0', caretColor: 'var(--text)' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '.cm-gutters': { backgroundColor: 'var(--sunken)', color: 'var(--dim)', border: 'none', borderRight: '1px solid var(--border)' },
  '.cm-activeLine': { backgroundColor: 'color-mix(in srgb, var(--hover) 70%, transparent)' },
  '.cm-activeLineGutter': { backgroundColor: 'var(--hover)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': { background: 'color-mix(in srgb, var(--focus) 28%, transparent)' },
  '.cm-panels': { backgroundColor: 'var(--sunken)', color: 'var(--text)', borderColor: 'var(--border)' },
  '.cm-tooltip': { backgroundColor: 'var(--surface)', border: '1px solid var(--border-strong)', borderRadius: '6px' },
  '.cm-specialChar': { color: 'var(--red)' },
});

export default function CodeEditor({ label, value, onChange, onSave, language, findings, isReadOnly = false, maxHeight = 560 }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const languageSlot = useRef(new Compartment());
  const changed = useEffectEvent((text: string) => { onChange(text); });
  const saved = useEffectEvent(() => {
    onSave?.();
    return onSave !== undefined;
  });
  const initial = useEffectEvent(() => ({ value, label, isReadOnly, maxHeight, extension: extensionOf(language) }));

  useEffect(() => {
    if (place.current === null) return undefined;
    const start = initial();
    const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? '';
    const editor = new EditorView({
      parent: place.current,
      doc: start.value,
      extensions: [
        EditorView.cspNonce.of(nonce),
        lineNumbers(), highlightActiveLineGutter(), highlightSpecialChars(), history(), drawSelection(), bracketMatching(),
        highlightActiveLine(), highlightSelectionMatches(), search({ top: true }), lintGutter(), indentUnit.of('    '),
        EditorView.lineWrapping,
        syntaxHighlighting(highlighting),
        languageSlot.current.of(start.extension),
        // Tab indents; Escape, then Tab leaves the editor: nobody is trapped in it.
        keymap.of([{ key: 'Mod-s', preventDefault: true, run: () => saved() }, ...defaultKeymap, ...historyKeymap, ...searchKeymap, indentWithTab]),
        EditorState.readOnly.of(start.isReadOnly),
        EditorView.editable.of(!start.isReadOnly),
        EditorView.contentAttributes.of({ 'aria-label': start.label, ...(start.isReadOnly ? { tabindex: '0' } : {}) }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) changed(update.state.doc.toString());
        }),
        look,
        EditorView.theme({ '.cm-scroller': { maxHeight: `${start.maxHeight}px`, overflow: 'auto', minHeight: '120px' } }),
      ],
    });
    view.current = editor;
    return () => {
      view.current = null;
      editor.destroy();
    };
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (editor !== null && editor.state.doc.toString() !== value) editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } });
  }, [value]);

  useEffect(() => {
    view.current?.dispatch({ effects: languageSlot.current.reconfigure(extensionOf(language)) });
  }, [language]);

  useEffect(() => {
    const editor = view.current;
    if (editor === null) return;
    editor.dispatch(setDiagnostics(editor.state, (findings ?? []).map((finding) => diagnostic(editor.state, finding)).sort((a, b) => a.from - b.from)));
  }, [findings]);

  return <div ref={place} className={findings?.some((finding) => finding.severity === 'error') === true ? 'code code-bad' : 'code'} />;
}

function extensionOf(language: Language) {
  return language === 'text' ? [] : languages[language];
}

function diagnostic(state: EditorState, finding: Finding): Diagnostic {
  const line = state.doc.line(Math.min(Math.max(finding.line ?? 1, 1), state.doc.lines));
  const { severity, message } = finding;
  if (finding.column == null) return { from: line.from, to: line.to, severity, message };
  // The column counts characters; the text counts UTF-16 units. At least one character is marked, the last one at the end.
  const before = Array.from(line.text).slice(0, finding.column - 1).join('').length;
  const from = line.from + Math.max(0, Math.min(before, line.length - 1));
  const word = /^[^\s;|&()<>"']+/u.exec(state.sliceDoc(from, line.to))?.[0].length ?? 1;
  return { from, to: Math.min(from + word, line.to), severity, message };
}

// Which language a content is in: by its first line, then by its path.

export type Language = 'shell' | 'perl' | 'python' | 'toml' | 'yaml' | 'properties' | 'text';

export function languageOf(content: string, path: string): Language {
  const first = content.slice(0, 200).split('\n', 1)[0] ?? '';
  if (first.startsWith('#!')) {
    if (first.includes('perl')) return 'perl';
    if (first.includes('python')) return 'python';
    if (/\b(sh|bash|dash|ksh|zsh)\b/.test(first)) return 'shell';
  }
  const ending = /\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? '';
  const byEnding: Record<string, Language> = { sh: 'shell', bash: 'shell', pl: 'perl', pm: 'perl', t: 'perl', py: 'python', toml: 'toml', yaml: 'yaml', yml: 'yaml', conf: 'properties', cnf: 'properties', ini: 'properties', properties: 'properties', env: 'properties' };
  return byEnding[ending] ?? 'text';
}

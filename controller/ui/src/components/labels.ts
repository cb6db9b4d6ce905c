// Labels as people type them: `env=prod`.

/** Returns `key=value` texts, sorted. */
export function formatLabels(labels: Record<string, string>): string[] {
  return Object.entries(labels).map(([key, value]) => `${key}=${value}`).sort();
}

/** Reads `key=value` texts; a text without `=` has an empty value. */
export function parseLabels(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => {
    const at = text.indexOf('=');
    return at === -1 ? [text.trim(), ''] : [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  }));
}

// Reads the text of a manifest as far as the dashboard must: where each object's table begins and ends.

/** Returns the table of one object out of a manifest as the controller writes it; undefined when it isn't there. */
export function tableOf(manifest: string, kind: string, name: string): string | undefined {
  return tables(manifest).find((table) => table.startsWith(`[[${kind}]]\n`) && table.split('\n').includes(`name = ${JSON.stringify(name)}`))?.trimEnd();
}

/** Cuts a manifest at the heads of its tables; a line within a text of several lines is no head. */
export function tables(manifest: string): string[] {
  const found: string[][] = [];
  let quote: string | undefined;
  for (const line of manifest.split('\n')) {
    if (quote === undefined && line.startsWith('[[')) found.push([]);
    found.at(-1)?.push(line);
    let rest = line;
    for (;;) {
      const [start, mark] = nextQuote(rest, quote);
      if (start === -1) break;
      quote = quote === undefined ? mark : undefined;
      rest = rest.slice(start + 3);
    }
  }
  return found.map((lines) => lines.join('\n'));
}

function nextQuote(text: string, quote: string | undefined): [number, string] {
  if (quote !== undefined) return [text.indexOf(quote), quote];
  const basic = text.indexOf('"""');
  const literal = text.indexOf("'''");
  return literal !== -1 && (basic === -1 || literal < basic) ? [literal, "'''"] : [basic, '"""'];
}

/** Hands a text to the browser as a file. */
export function download(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: 'application/toml' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}

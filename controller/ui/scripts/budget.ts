// Weighs what a first visit loads (the entry, what it imports, its styles and the given pages), compressed and
// without fonts; prints it and fails the build above the budget.
import { gzipSync } from 'node:zlib';
import type { Plugin, Rollup } from 'vite';

export function firstLoadBudget(options: { kib: number; pages: string[] }): Plugin {
  return {
    name: 'lampas-first-load-budget',
    apply: 'build',
    writeBundle(_output, bundle) {
      const wanted = new Set<string>();
      const take = (file: string): void => {
        const chunk = bundle[file];
        if (wanted.has(file) || chunk?.type !== 'chunk') return;
        wanted.add(file);
        chunk.imports.forEach(take);
      };
      const chunks = Object.values(bundle).filter((item): item is Rollup.OutputChunk => item.type === 'chunk');
      chunks.filter((chunk) => chunk.isEntry || options.pages.includes(chunk.name)).forEach((chunk) => { take(chunk.fileName); });
      const styles = Object.values(bundle).filter((item): item is Rollup.OutputAsset => item.type === 'asset' && item.fileName.endsWith('.css'));
      const size = (text: string | Uint8Array): number => gzipSync(text).length / 1024;
      const code = chunks.filter((chunk) => wanted.has(chunk.fileName)).reduce((sum, chunk) => sum + size(chunk.code), 0);
      const css = styles.reduce((sum, asset) => sum + size(asset.source), 0);
      const total = code + css;
      this.info(`first load ${total.toFixed(1)} KiB compressed (code ${code.toFixed(1)}, styles ${css.toFixed(1)}), budget ${options.kib.toString()} KiB`);
      if (total > options.kib) this.error(`the first load is over its budget of ${options.kib.toString()} KiB`);
    },
  };
}

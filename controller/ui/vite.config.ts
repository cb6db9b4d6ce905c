// How the dashboard is built: relative paths (it may stand under a prefix behind a proxy), one chunk a page, and a
// budget for what a first visit loads.
import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { firstLoadBudget } from './scripts/budget.ts';

// The parser's package forgets to say that its runtime is loaded for its effect; without this it would be left out.
const goRuntime: Plugin = {
  name: 'lampas-go-runtime',
  enforce: 'pre',
  async resolveId(source, importer, options) {
    if (!source.endsWith('/wasm_exec.cjs')) return null;
    const found = await this.resolve(source, importer, { ...options, skipSelf: true });
    return found === null ? null : { ...found, moduleSideEffects: true };
  },
};

export default defineConfig({
  base: './',
  plugins: [react(), firstLoadBudget({ kib: 250, pages: ['OverviewPage'] })],
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  build: {
    target: 'es2022',
    // Fonts and pictures are files of their own: the content security policy allows no data: URLs for them.
    assetsInlineLimit: 0,
    // Vite's own report would drown the one figure that has a limit.
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  worker: { plugins: () => [goRuntime] },
  server: { proxy: { '/api': { target: process.env.LAMPAS_SERVER ?? 'https://127.0.0.1:8443', secure: false } } },
  test: { environment: 'happy-dom', include: ['src/**/*.test.{ts,tsx}'], setupFiles: ['src/test-setup.ts'] },
});

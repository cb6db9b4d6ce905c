// How the browser tests run: one worker, since all of them look at one small fleet; no second try, since a test that
// fails now and then is a defect of test or product.
import { defineConfig } from '@playwright/test';

const server = process.env['LAMPAS_SERVER'];
if (server === undefined) throw new Error('start the tests with tests/browser/run: LAMPAS_SERVER is not set');

export default defineConfig({
  testDir: 'specs',
  outputDir: 'test-results/failed',
  workers: 1,
  retries: 0,
  forbidOnly: true,
  timeout: 90_000,
  // Long, since the machine may be loaded; what is waited for comes within a second on an idle one.
  expect: { timeout: 20_000 },
  reporter: [['list']],
  use: {
    baseURL: `${server}/`,
    // The controller's own certificate: the browser knows no authority for it.
    ignoreHTTPSErrors: true,
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    reducedMotion: 'reduce',
    actionTimeout: 20_000,
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: process.env['LAMPAS_CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    },
  },
  projects: [
    { name: 'sign-in', testMatch: 'sign-in.setup.ts' },
    { name: 'pages', testMatch: '**/*.spec.ts', dependencies: ['sign-in'], use: { storageState: 'test-results/session.json' } },
  ],
});

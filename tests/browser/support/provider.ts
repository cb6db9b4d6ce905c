// The real identity provider of provider.mjs, as a process of a test, and what people do on its pages.
import { spawn } from 'node:child_process';
import path from 'node:path';
import type { Page } from '@playwright/test';

export interface Provider {
  issuer: string;
  stop: () => void;
}

interface LogoutAt {
  /** Where it tells who signed out. */
  uri: string;
  /** The authority of that address's certificate. */
  ca: string;
}

/** Starts the provider, and waits for the line that names its issuer. */
export async function startProvider(redirectUri: string, logout?: LogoutAt): Promise<Provider> {
  const program = path.join(import.meta.dirname, 'provider.mjs');
  const env = { ...process.env, ...(logout === undefined ? {} : { NODE_EXTRA_CA_CERTS: logout.ca }) };
  const child = spawn(process.execPath, [program, redirectUri, ...(logout === undefined ? [] : [logout.uri])], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const issuer = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (piece: Buffer) => {
      text += piece.toString();
      const line = /^(http:\S+)\n/m.exec(text)?.[1];
      if (line !== undefined) resolve(line);
    });
    child.once('exit', (code) => { reject(new Error(`the provider ended with ${code}`)); });
  });
  return { issuer, stop: () => { child.stdin.end(); } };
}

/** Signs in at the provider's own page; who did so before is not asked again what may be told. */
export async function atProvider(page: Page, name: string, isKnown = false): Promise<void> {
  await page.getByPlaceholder('Enter any login').fill(name);
  await page.getByPlaceholder('and password').fill('any');
  await page.getByRole('button', { name: 'Sign-in' }).click();
  if (!isKnown) await page.getByRole('button', { name: 'Continue' }).click();
}

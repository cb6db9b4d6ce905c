// The demo that the tests run against: where its nodes' files stand, its command line and its API.
import { execFile } from 'node:child_process';
import { chmod, readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from '@playwright/test';

const run = promisify(execFile);

export const demo = required('LAMPAS_DEMO_DIR');
export const server = required('LAMPAS_SERVER');
const bin = process.env['LAMPAS_BIN'] ?? fileURLToPath(new URL('../../../target/debug/', import.meta.url));

export const controllerProgram = path.join(bin, 'lampas-controller');
export const agentProgram = path.join(bin, 'lampas-agent');

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set: start the tests with tests/browser/run`);
  return value;
}

/** Returns the administrator's password, which the demo made. */
export async function adminPassword(): Promise<string> {
  return (await readFile(path.join(demo, 'admin'), 'utf8')).trim();
}

/** Runs lampasctl as the demo's administrator and returns what it printed. */
export async function ctl(...words: string[]): Promise<string> {
  return (await run(path.join(bin, 'lampasctl'), words, { timeout: 60_000 })).stdout;
}

/** Runs the agent's command line and returns what it printed. */
export async function agent(...words: string[]): Promise<string> {
  return (await run(agentProgram, words, { timeout: 60_000 })).stdout;
}

/** Names a file of a node as its root directory holds it. */
export function onNode(node: string, file: string): string {
  return path.join(demo, node, file);
}

/** Reads a file of a node; undefined when it is not there. */
export async function readOn(node: string, file: string): Promise<string | undefined> {
  try {
    return await readFile(onNode(node, file), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Changes a file of a node as somebody with an editor would. */
export async function editByHand(node: string, file: string, from: string, to: string): Promise<void> {
  const before = await readOn(node, file);
  expect(before, `${file} on ${node}`).toContain(from);
  // In one step, so that the agent can't meet it half written.
  const beside = `${onNode(node, path.dirname(file))}/.edited`;
  await writeFile(beside, (before ?? '').replace(from, to));
  await chmod(beside, (await stat(onNode(node, file))).mode);
  await rename(beside, onNode(node, file));
}

/** Waits until a file of a node holds a text. */
export async function expectOn(node: string, file: string, text: string | RegExp): Promise<void> {
  await expect.poll(() => readOn(node, file), { message: `${file} on ${node}` }).toMatch(text);
}

/** Applies a manifest and waits until it is in force. */
export async function applyManifest(directory: string, text: string): Promise<void> {
  const file = path.join(directory, 'manifest.toml');
  await writeFile(file, text);
  await ctl('apply', '-f', file, '--wait');
}

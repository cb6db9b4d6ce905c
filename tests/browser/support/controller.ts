// A controller for a single test: started in a directory of its own, stopped and started again by the test.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, request } from '@playwright/test';
import { controllerProgram } from './demo.ts';

export class Controller {
  private process: ChildProcess | undefined;

  private constructor(readonly directory: string, private readonly port: number) {}

  /** Starts one, with these lines in its configuration. */
  static async start(configuration = ''): Promise<Controller> {
    const controller = new Controller(await mkdtemp(path.join(tmpdir(), 'lampas-browser-')), await freePort());
    await writeFile(controller.configuration, configuration);
    await controller.start();
    return controller;
  }

  get data(): string {
    return path.join(this.directory, 'data');
  }

  private get configuration(): string {
    return path.join(this.directory, 'controller.toml');
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** Starts it, or starts it again on the same port, and waits until it is ready. */
  async start(): Promise<void> {
    const log = openSync(path.join(this.directory, 'log'), 'a');
    this.process = spawn(controllerProgram, ['serve', '--config', this.configuration, '--data-dir', path.join(this.directory, 'data'), '--listen', `127.0.0.1:${this.port}`], { stdio: ['ignore', log, log] });
    closeSync(log);
    const context = await request.newContext({ ignoreHTTPSErrors: true });
    const isReady = async (): Promise<boolean> => {
      expect(this.process?.exitCode ?? null, `the controller runs; its log is ${this.directory}/log`).toBeNull();
      return context.get(`${this.url}/readyz`).then((answer) => answer.ok(), () => false);
    };
    await expect.poll(isReady, { timeout: 60_000, message: 'the controller is ready' }).toBe(true);
    await context.dispose();
  }

  /** Ends it as systemd would. */
  async stop(): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  }

  async setupLink(): Promise<string> {
    return (await readFile(path.join(this.directory, 'data/setup-link'), 'utf8')).trim();
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port);
        else reject(new Error('no free port'));
      });
    });
  });
}

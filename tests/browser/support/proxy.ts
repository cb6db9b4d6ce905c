// Debian's nginx in front of a controller, under a path prefix: as somebody would set it up who has one host name for
// many things.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, request } from '@playwright/test';

export const NGINX = process.env['LAMPAS_NGINX'] ?? '/usr/sbin/nginx';

export class Proxy {
  private process: ChildProcess | undefined;

  private constructor(readonly url: string) {}

  /** Starts it with the certificate of the controller whose files stand in `data`. */
  static async start(directory: string, port: number, prefix: string, controller: string, data: string): Promise<Proxy> {
    const place = path.join(directory, 'nginx');
    await mkdir(place, { recursive: true });
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((each) => `  ${each}_temp_path ${place}/${each};`).join('\n');
    await writeFile(
      path.join(place, 'nginx.conf'),
      `daemon off;
worker_processes 1;
pid ${place}/pid;
error_log ${place}/error.log;
events {}
http {
  access_log ${place}/access.log;
${temporary}
  server {
    listen 127.0.0.1:${port} ssl http2;
    ssl_certificate ${data}/web/cert.pem;
    ssl_certificate_key ${data}/web/cert.key;
    location / { return 404 "another service\\n"; }
    location ${prefix}/ {
      proxy_pass ${controller};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout 10m;
    }
  }
}
`,
    );
    const log = openSync(path.join(place, 'output'), 'a');
    const proxy = new Proxy(`https://127.0.0.1:${port}${prefix}/`);
    proxy.process = spawn(NGINX, ['-c', path.join(place, 'nginx.conf'), '-p', place, '-e', path.join(place, 'error.log')], { stdio: ['ignore', log, log] });
    closeSync(log);
    const context = await request.newContext({ ignoreHTTPSErrors: true });
    const isReady = async (): Promise<boolean> => {
      expect(proxy.process?.exitCode ?? null, `nginx runs; its log is ${place}/error.log`).toBeNull();
      return context.get(`https://127.0.0.1:${port}/`).then((answer) => answer.status() === 404, () => false);
    };
    await expect.poll(isReady, { timeout: 30_000, message: 'nginx is ready' }).toBe(true);
    await context.dispose();
    return proxy;
  }

  async stop(): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  }
}

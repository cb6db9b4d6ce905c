// Checks between waves: what somebody chooses becomes a gate, or says what is wrong with it.
import { expect, it } from 'vitest';
import { FIRST_GATE, type GateChoice, gateOf, gateTitle } from './gate';
import { secondsOf } from './strategy';

const made = (change: Partial<GateChoice>) => gateOf({ ...FIRST_GATE, ...change }, secondsOf);

it.each([
  [{ place: 'http://127.0.0.1/health', contains: 'ok', within: '30 s' }, { what: { kind: 'http', url: 'http://127.0.0.1/health', status_from: 200, status_to: 299, contains: 'ok' }, within_secs: 30, for_secs: 0 }, 'GET http://127.0.0.1/health'],
  [{ place: 'https://db-1/', status: '204', insecure: true, days: '14', elsewhere: true }, { what: { kind: 'http', url: 'https://db-1/', status_from: 204, status_to: 204, tls: { server_name: '', ca: null, insecure: true, days_left: 14 }, elsewhere: true }, within_secs: 0, for_secs: 0 }, 'GET https://db-1/'],
  [{ kind: 'tcp', place: '5432' }, { what: { kind: 'tcp', host: '127.0.0.1', port: 5432 }, within_secs: 0, for_secs: 0 }, 'TCP 127.0.0.1:5432'],
  [{ kind: 'tcp', place: '[::1]:443', tls: true }, { what: { kind: 'tcp', host: '::1', port: 443, tls: { server_name: '', ca: null, insecure: false, days_left: 0 } }, within_secs: 0, for_secs: 0 }, 'TLS on [::1]:443'],
  [{ kind: 'unit', place: 'nginx' }, { what: { kind: 'unit', unit: 'nginx.service' }, within_secs: 0, for_secs: 0 }, 'unit nginx.service'],
  [{ kind: 'measure', measure: 'disk_free_percent', place: '/var', compare: '>', bound: '10' }, { what: { kind: 'measure', measure: 'disk_free_percent', path: '/var', bound: { compare: '>', number: 10 } }, within_secs: 0, for_secs: 0 }, 'disk_free_percent of /var > 10'],
  [{ kind: 'series', place: 'http://127.0.0.1:9100/metrics', series: 'errors', compare: '<=', bound: 'before+10%', lasting: '1 min' }, { what: { kind: 'series', url: 'http://127.0.0.1:9100/metrics', series: 'errors', bound: { compare: '<=', worse_percent: 10 } }, within_secs: 0, for_secs: 60 }, 'errors of http://127.0.0.1:9100/metrics <= before+10%'],
] as const)('makes %j', (change, probe, title) => {
  const { gate } = made(change);
  expect(gate).toEqual({ probe });
  expect(gate === undefined ? '' : gateTitle(gate)).toBe(title);
});

it.each([
  [{}, 'A URL that begins'],
  [{ place: 'ftp://a/' }, 'A URL that begins'],
  [{ place: 'http://user:secret@a/' }, 'A URL that begins'],
  [{ place: 'http://a/', status: 'ok' }, 'A status or a range'],
  [{ place: 'http://a/', within: 'soon' }, 'May take up to an hour'],
  [{ kind: 'tcp', place: '70000' }, 'A port of the node'],
  [{ kind: 'process', place: '/usr/sbin/nginx' }, 'without a path'],
  [{ kind: 'measure', bound: 'many' }, 'A number, or before+10%'],
  [{ kind: 'measure', compare: '>', bound: 'before+10%' }, 'With > write before-10%'],
  [{ kind: 'series', place: 'http://a/', series: '9x', bound: '1' }, 'A series'],
  [{ kind: 'command', place: 'true' }, 'absolute path'],
] as const)('refuses %j', (change, problem) => {
  const { gate, problem: told } = made(change);
  expect(gate).toBeUndefined();
  expect(told).toContain(problem);
});

it('names who asks', () => {
  expect(gateTitle({ command: ['/bin/ok', 'a b'], from: 'monitor-1' })).toBe("/bin/ok 'a b', asked by monitor-1");
});

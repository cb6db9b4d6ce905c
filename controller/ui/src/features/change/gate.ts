// A check between waves, as somebody chooses it, and the gate that the API takes.
import type { Gate, ProbeBound, ProbeMeasure, ProbeTls, ProbeWhat } from '@/api/schema';
import { lineOf, wordsOf } from '@/ui/words';

export type GateKind = 'http' | 'tcp' | 'unit' | 'process' | 'measure' | 'series' | 'command';

export interface GateChoice {
  kind: GateKind;
  /** What is asked: a URL, HOST:PORT, a unit, a process, a path of a disk, a command. */
  place: string;
  user: string;
  status: string;
  contains: string;
  tls: boolean;
  insecure: boolean;
  days: string;
  measure: ProbeMeasure;
  series: string;
  compare: ProbeBound['compare'];
  bound: string;
  within: string;
  lasting: string;
  from: string;
  elsewhere: boolean;
}

export const FIRST_GATE: GateChoice = {
  kind: 'http', place: '', user: '', status: '200-299', contains: '', tls: false, insecure: false, days: '', measure: 'load_per_core',
  series: '', compare: '<', bound: '', within: '0 s', lasting: '0 s', from: '', elsewhere: false,
};

/** Choices of a select, each word of the API with its label. */
function choicesOf<T extends string>(labels: Record<T, string>): { value: T; label: string }[] {
  return (Object.keys(labels) as T[]).map((value) => ({ value, label: labels[value] }));
}

export const GATE_KINDS = choicesOf<GateKind>({
  http: 'A URL answers',
  tcp: 'A port accepts',
  unit: 'A unit is active',
  process: 'A process runs',
  measure: 'A measure of the node',
  series: 'A Prometheus value',
  command: 'A command exits with 0',
});

export const MEASURES = choicesOf<ProbeMeasure>({
  load_per_core: 'Load per processor',
  memory_available_percent: 'Memory available, %',
  swap_used_percent: 'Swap used, %',
  disk_free_percent: 'Disk free, %',
  inodes_free_percent: 'Inodes free, %',
  descriptors: 'Open file descriptors',
  processes: 'Processes',
});

export const COMPARES = ['<', '<=', '>', '>='] satisfies ProbeBound['compare'][];

/** Returns the gate of a choice, or what is wrong with it. */
export function gateOf(choice: GateChoice, secondsOf: (text: string) => number | undefined): { gate: Gate | undefined; problem: string | undefined } {
  const wrong = (problem: string) => ({ gate: undefined, problem });
  const place = choice.place.trim();
  if (choice.kind === 'command') {
    if (place === '') return wrong('A command, or remove this check');
    const command = wordsOf(choice.place) ?? [];
    if (command.length === 0) return wrong('A quote is not closed');
    if (command[0]?.startsWith('/') !== true) return wrong('The program by its absolute path');
    return { gate: { command, user: choice.user.trim() === '' ? 'nobody' : choice.user.trim(), timeout_secs: 60, ...fromOf(choice) }, problem: undefined };
  }
  const within = secondsOf(choice.within);
  const lasting = secondsOf(choice.lasting);
  if (within === undefined || within > 3600) return wrong('May take up to an hour: 30 s, 5 min');
  if (lasting === undefined || lasting > 3600) return wrong('Must hold for up to an hour: 30 s, 5 min');
  const what = whatOf(choice, place);
  if (typeof what === 'string') return wrong(what);
  return { gate: { probe: { what, within_secs: within, for_secs: lasting }, ...fromOf(choice) }, problem: undefined };
}

function fromOf({ from }: GateChoice): Pick<Gate, 'from'> {
  return from.trim() === '' ? {} : { from: from.trim() };
}

/** Returns what is asked, or what is wrong with it. */
function whatOf(choice: GateChoice, place: string): ProbeWhat | string {
  const elsewhere = choice.elsewhere ? { elsewhere: true } : {};
  switch (choice.kind) {
    case 'http': {
      const status = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(choice.status.trim());
      if (!isUrl(place)) return 'A URL that begins with http:// or https://';
      if (status === null) return 'A status or a range: 200, 200-299';
      const tls = tlsOf(choice, place.startsWith('https:'));
      if (typeof tls === 'string') return tls;
      const contains = choice.contains === '' ? {} : { contains: choice.contains };
      return { kind: 'http', url: place, status_from: Number(status[1]), status_to: Number(status[2] ?? status[1]), ...contains, ...tls, ...elsewhere };
    }
    case 'tcp': {
      const found = /^(?:(\[[\da-fA-F:]+\]|[^:\s]+):)?(\d{1,5})$/.exec(place);
      const port = Number(found?.[2]);
      if (found === null || port < 1 || port > 65_535) return 'A port of the node, or HOST:PORT';
      const tls = tlsOf(choice, choice.tls);
      if (typeof tls === 'string') return tls;
      const host = found[1]?.replace(/^\[|\]$/g, '') ?? '127.0.0.1';
      return { kind: 'tcp', host, port, ...(choice.tls ? { tls: tls.tls ?? PLAIN_TLS } : {}), ...elsewhere };
    }
    case 'unit':
      if (place === '') return 'The name of a unit: nginx.service';
      return { kind: 'unit', unit: /\.[a-z]+$/.test(place) ? place : `${place}.service` };
    case 'process':
      return place === '' || place.includes('/') ? 'The name as ps shows it, without a path' : { kind: 'process', process: place };
    case 'measure': {
      const bound = boundOf(choice);
      if (typeof bound === 'string') return bound;
      const path = isOfDisk(choice.measure) && place !== '' && place !== '/' ? { path: place } : {};
      if (path.path?.startsWith('/') === false) return 'The path of a disk: /var';
      return { kind: 'measure', measure: choice.measure, bound, ...path };
    }
    default: {
      const bound = boundOf(choice);
      if (!isUrl(place)) return 'A URL that begins with http:// or https://';
      if (!/^[a-zA-Z_:][\w:]*(\{.*\})?$/.test(choice.series.trim())) return 'A series: node_load1, errors_total{code="500"}';
      if (typeof bound === 'string') return bound;
      const tls = tlsOf(choice, place.startsWith('https:'));
      if (typeof tls === 'string') return tls;
      return { kind: 'series', url: place, series: choice.series.trim(), bound, ...tls, ...elsewhere };
    }
  }
}

/** A certificate that the node's own roots vouch for. */
const PLAIN_TLS: ProbeTls = { server_name: '', ca: null, insecure: false, days_left: 0 };

function tlsOf(choice: GateChoice, isTls: boolean): { tls?: ProbeTls } | string {
  if (!isTls) return {};
  const days = choice.days.trim() === '' ? 0 : Number(choice.days.trim());
  if (!Number.isInteger(days) || days < 0 || days > 3650) return 'Days that the certificate must still be valid: 14';
  if (!choice.insecure && days === 0) return {};
  return { tls: { ...PLAIN_TLS, insecure: choice.insecure, days_left: days } };
}

/** Reads "2", "before+10%", "before-5%". */
function boundOf({ compare, bound }: GateChoice): ProbeBound | string {
  const text = bound.trim();
  const before = /^before(?:([+-])(\d+(?:\.\d+)?)%)?$/.exec(text.replaceAll(' ', ''));
  const sign = compare.startsWith('<') ? '+' : '-';
  if (before !== null) return before[1] === undefined || before[1] === sign ? { compare, worse_percent: Number(before[2] ?? 0) } : `With ${compare} write before${sign}10%`;
  if (text === '' || !Number.isFinite(Number(text))) return `A number, or before${sign}10% to compare with what it was`;
  return { compare, number: Number(text) };
}

export function isOfDisk(measure: ProbeMeasure): boolean {
  return measure === 'disk_free_percent' || measure === 'inodes_free_percent';
}

function isUrl(text: string): boolean {
  return /^https?:\/\/[^\s/?#@]+([/?][^\s#]*)?$/.test(text);
}

/** Returns what a gate asks, in one line. */
export function gateTitle(gate: Gate): string {
  const asked = gate.probe == null ? lineOf(gate.command ?? []) : whatTitle(gate.probe.what);
  return gate.from == null ? asked : `${asked}, asked by ${gate.from}`;
}

function whatTitle(what: ProbeWhat): string {
  const host = (text: string): string => (text.includes(':') ? `[${text}]` : text);
  switch (what.kind) {
    case 'http':
      return `${what.method ?? 'GET'} ${what.url}`;
    case 'tcp':
      return `${what.tls == null ? 'TCP ' : 'TLS on '}${host(what.host ?? '127.0.0.1')}:${what.port}`;
    case 'unit':
      return `unit ${what.unit}`;
    case 'process':
      return `process ${what.process}`;
    case 'measure':
      return `${what.measure}${what.path == null ? '' : ` of ${what.path}`} ${boundWords(what.bound)}`;
    case 'series':
      return `${what.series} of ${what.url} ${boundWords(what.bound)}`;
  }
}

function boundWords({ compare, number, worse_percent: percent }: ProbeBound): string {
  return number == null ? `${compare} before${compare.startsWith('<') ? '+' : '-'}${percent ?? 0}%` : `${compare} ${number}`;
}

// The fields of one check between waves: what is asked, and how it must hold.
import { Button, Checkbox, Select, TextInput } from '@mantine/core';
import { COMPARES, type GateChoice, GATE_KINDS, isOfDisk, MEASURES } from './gate';

interface Props {
  index: number;
  gate: GateChoice;
  onChange: (change: Partial<GateChoice>) => void;
  onRemove: () => void;
  problem: string | undefined;
}

const PLACES: Record<GateChoice['kind'], { label: string; placeholder: string }> = {
  http: { label: 'URL, as each node of the wave sees it', placeholder: 'http://127.0.0.1:8080/health' },
  tcp: { label: 'Port of the node, or HOST:PORT', placeholder: '5432' },
  unit: { label: 'Unit of systemd', placeholder: 'nginx.service' },
  process: { label: 'Name of the process', placeholder: 'nginx' },
  measure: { label: 'Path of the disk', placeholder: '/' },
  series: { label: 'URL of the endpoint', placeholder: 'http://127.0.0.1:9100/metrics' },
  command: { label: 'Command; must exit with 0 on each node of a wave', placeholder: '/usr/local/sbin/is-healthy --quick' },
};

export function GateFields({ index, gate, onChange, onRemove, problem }: Props) {
  const { kind } = gate;
  const hasPlace = kind !== 'measure' || isOfDisk(gate.measure);
  const text = (field: 'place' | 'user' | 'status' | 'contains' | 'days' | 'series' | 'bound' | 'within' | 'lasting' | 'from', label: string, placeholder = '') => (
    <TextInput label={label} placeholder={placeholder} value={gate[field]} onChange={(event) => { onChange({ [field]: event.currentTarget.value }); }} error={field === 'bound' && !hasPlace ? problem : undefined} autoComplete="off" />
  );
  const flag = (field: 'tls' | 'insecure' | 'elsewhere', label: string) => <Checkbox label={label} checked={gate[field]} onChange={(event) => { onChange({ [field]: event.currentTarget.checked }); }} />;
  const isTls = kind === 'tcp' ? gate.tls : (kind === 'http' || kind === 'series') && gate.place.trim().startsWith('https:');
  const isNetwork = kind === 'http' || kind === 'tcp' || kind === 'series';
  const isCompared = kind === 'measure' || kind === 'series';
  const place = PLACES[kind];
  return (
    <fieldset className="rollout-gate">
      <legend className="sr">Check {index + 1}</legend>
      <div className="rollout-gate-fields">
        <Select label={`Check ${index + 1}`} data={GATE_KINDS} value={kind} allowDeselect={false} onChange={(next) => { onChange({ kind: GATE_KINDS.find((each) => each.value === next)?.value ?? 'http' }); }} />
        {kind === 'measure' && <Select label="Measure" data={MEASURES} value={gate.measure} allowDeselect={false} onChange={(next) => { onChange({ measure: MEASURES.find((each) => each.value === next)?.value ?? 'load_per_core' }); }} />}
        {hasPlace && <TextInput className="mono-input rollout-gate-place" label={place.label} placeholder={place.placeholder} value={gate.place} onChange={(event) => { onChange({ place: event.currentTarget.value }); }} error={problem} autoComplete="off" />}
        {kind === 'command' && text('user', 'As user', 'nobody')}
        {kind === 'http' && text('status', 'Expected status', '200-299')}
        {kind === 'http' && text('contains', 'The body contains', 'anything')}
        {kind === 'series' && text('series', 'Series', 'errors_total{code="500"}')}
        {isCompared && <Select label="Must be" data={COMPARES} value={gate.compare} allowDeselect={false} onChange={(next) => { onChange({ compare: COMPARES.find((each) => each === next) ?? '<' }); }} />}
        {isCompared && text('bound', 'Than', gate.compare.startsWith('<') ? '2, or before+10%' : '10, or before-10%')}
        {kind !== 'command' && text('within', 'May take until it holds', '30 s')}
        {kind !== 'command' && text('lasting', 'Then must hold for', '1 min')}
        {isTls && text('days', 'Certificate valid for days', 'any')}
        {text('from', 'Asked by', 'each node of the wave')}
      </div>
      <div className="row-wrap">
        {kind === 'tcp' && flag('tls', 'With a TLS handshake')}
        {isTls && flag('insecure', 'Take any certificate')}
        {isNetwork && flag('elsewhere', 'Goes to a host that is not of the fleet')}
        <Button size="xs" variant="subtle" color="gray" onClick={onRemove}>Remove<span className="sr"> check {index + 1}</span></Button>
      </div>
    </fieldset>
  );
}

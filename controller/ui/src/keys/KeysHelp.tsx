// `?`: the keys, and the switch that turns them off.
import { Kbd, Modal, Switch } from '@mantine/core';
import { setPrefs, usePrefs } from '@/ui/prefs';
import { places } from './places';

const general: [string[], string][] = [
  [['Ctrl', 'K'], 'Search, or run a command'],
  [['/'], 'Filter the list'],
  [['j'], 'Next row'],
  [['k'], 'Previous row'],
  [['x'], 'Select the row'],
  [['v'], 'Quick look at the row'],
  [['Enter'], 'Open the row'],
  [['Esc'], 'Close what is open'],
  [['Ctrl', 'S'], 'Save the draft in an editor'],
  [['?'], 'Show these keys'],
];

export default function KeysHelp({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const prefs = usePrefs();
  return (
    <Modal opened={opened} onClose={onClose} title="Keys" size="lg" centered>
      <div className="keys-grid">
        <dl>{general.map(([keys, what]) => <Row key={what} keys={keys} what={what} />)}</dl>
        <dl>{places.map((place) => <Row key={place.to} keys={['g', place.key]} what={place.title} />)}</dl>
      </div>
      <Switch mt={16} label="Keyboard shortcuts" description="Kept in this browser. The menu with your name brings them back." checked={prefs.keys} onChange={(event) => { setPrefs({ keys: event.currentTarget.checked }); }} />
    </Modal>
  );
}

function Row({ keys, what }: { keys: string[]; what: string }) {
  return (
    <div>
      <dt>{keys.map((key) => <Kbd key={key} size="xs">{key}</Kbd>)}</dt>
      <dd>{what}</dd>
    </div>
  );
}

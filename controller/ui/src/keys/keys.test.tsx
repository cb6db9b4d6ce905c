// Shortcuts run, stay silent while somebody types, and can be switched off.
import { render } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, expect, it, vi } from 'vitest';
import { setPrefs } from '@/ui/prefs';
import { useKeys, type Bindings } from './keys';

function Bound({ bindings }: { bindings: Bindings }) {
  useKeys(bindings);
  return <input aria-label="field" />;
}

afterEach(() => { setPrefs({ keys: true }); });

it('runs a pair, and not its second key alone', async () => {
  const nodes = vi.fn();
  render(<Bound bindings={{ 'g n': nodes }} />);
  await userEvent.keyboard('n');
  expect(nodes).not.toHaveBeenCalled();
  await userEvent.keyboard('gn');
  expect(nodes).toHaveBeenCalledOnce();
});

it('leaves single keys to a field, and takes Ctrl-K from it', async () => {
  const single = vi.fn();
  const palette = vi.fn();
  const { getByLabelText } = render(<Bound bindings={{ j: single, 'mod+k': palette }} />);
  await userEvent.click(getByLabelText('field'));
  await userEvent.keyboard('j{Control>}k{/Control}');
  expect(single).not.toHaveBeenCalled();
  expect(palette).toHaveBeenCalledOnce();
});

it('does nothing once it is switched off', async () => {
  const single = vi.fn();
  render(<Bound bindings={{ j: single }} />);
  setPrefs({ keys: false });
  await userEvent.keyboard('j');
  expect(single).not.toHaveBeenCalled();
});

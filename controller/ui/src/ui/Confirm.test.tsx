// What is confirmed by a double click is done once, with the reason that somebody gave.
import { fireEvent, render, screen } from '@testing-library/react';
import { MantineProvider } from '@mantine/core';
import { beforeEach, expect, it, vi } from 'vitest';
import { Confirm } from './Confirm';
import { ConfirmByName } from './ConfirmByName';

beforeEach(() => { Object.defineProperty(document, 'fonts', { value: new EventTarget(), configurable: true }); });

function clickAt(name: string, time: number): void {
  const click = new MouseEvent('click', { bubbles: true, cancelable: true });
  Object.defineProperty(click, 'timeStamp', { value: time });
  fireEvent(screen.getByRole('button', { name }), click);
}

it('ends a freeze once, and says why', () => {
  const act = vi.fn();
  render(<MantineProvider env="test"><Confirm title="End it" verb="End it" onClose={() => undefined} onConfirm={act} asksWhy isPending={false}>Now.</Confirm></MantineProvider>);
  fireEvent.change(screen.getByLabelText('Why'), { target: { value: ' the sale is over ' } });
  clickAt('End it', 1000);
  clickAt('End it', 1120);
  expect(act.mock.calls).toEqual([['the sale is over']]);
});

it('asks for no reason where none is kept', () => {
  const act = vi.fn();
  render(<MantineProvider env="test"><ConfirmByName opened title="Remove ann" name="ann" verb="Remove it" onClose={() => undefined} onConfirm={act} isPending={false}>Gone.</ConfirmByName></MantineProvider>);
  expect(screen.queryByLabelText('Why')).toBeNull();
  fireEvent.change(screen.getByRole('textbox'), { target: { value: 'ann' } });
  clickAt('Remove it', 1000);
  clickAt('Remove it', 1100);
  expect(act.mock.calls).toEqual([['']]);
});

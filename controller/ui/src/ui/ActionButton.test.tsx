// What is pressed twice at once acts once, also where it sends a form; pressed again later it acts again.
import { fireEvent, render, screen } from '@testing-library/react';
import { MantineProvider } from '@mantine/core';
import { expect, it, vi } from 'vitest';
import { ActionButton } from './ActionButton';

/** Clicks at a moment of the page's clock. */
function clickAt(time: number): void {
  const click = new MouseEvent('click', { bubbles: true, cancelable: true });
  Object.defineProperty(click, 'timeStamp', { value: time });
  fireEvent(screen.getByRole('button'), click);
}

it('takes a double click for one', () => {
  const act = vi.fn();
  render(<MantineProvider><ActionButton onClick={act}>Plan</ActionButton></MantineProvider>);
  clickAt(1000);
  clickAt(1120);
  expect(act).toHaveBeenCalledTimes(1);
  clickAt(1700);
  expect(act).toHaveBeenCalledTimes(2);
});

it('sends its form once', () => {
  const send = vi.fn();
  render(<MantineProvider><form onSubmit={(event) => { event.preventDefault(); send(); }}><ActionButton type="submit">Make</ActionButton></form></MantineProvider>);
  clickAt(1000);
  clickAt(1000);
  expect(send).toHaveBeenCalledTimes(1);
});

it('does nothing while it refuses', () => {
  const act = vi.fn();
  render(<MantineProvider><ActionButton refusal="Give it a name first." onClick={act}>Plan</ActionButton></MantineProvider>);
  clickAt(1000);
  expect(act).not.toHaveBeenCalled();
});

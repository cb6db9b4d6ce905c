// A button that says why it can't be pressed. It stays focusable while it refuses, so that the reason can be read
// with keyboard and screen reader too. Pressed twice, as in a double click, it acts once.
import { useRef, type MouseEvent } from 'react';
import { Button, Tooltip, type ButtonProps } from '@mantine/core';

interface Props extends ButtonProps {
  /** Why it can't be pressed; undefined when it can. */
  refusal?: string | undefined;
  onClick?: (() => void) | undefined;
  type?: 'button' | 'submit';
  children: React.ReactNode;
}

// What systems take for a double click; the state of a request reaches the button only after the first of the two.
const ONE_PRESS_MS = 500;

export function ActionButton({ refusal, onClick, type = 'button', loading, children, ...rest }: Props) {
  const refused = refusal !== undefined;
  const pressedAt = useRef(-Infinity);
  const press = (event: MouseEvent): void => {
    // The browser counts the clicks on one place; a key that is held down, or a form that is sent, has no count.
    const isAgain = event.detail > 1 || (event.detail === 0 && event.timeStamp - pressedAt.current < ONE_PRESS_MS);
    if (refused || isAgain || loading === true) {
      // A form's button would send the form.
      event.preventDefault();
      return;
    }
    pressedAt.current = event.timeStamp;
    onClick?.();
  };
  const button = (
    <Button {...rest} loading={loading ?? false} type={refused ? 'button' : type} onClick={press} data-disabled={refused || undefined} aria-disabled={refused || undefined}>
      {children}
      {refused && <span className="sr"> ({refusal})</span>}
    </Button>
  );
  return refused ? <Tooltip label={refusal} maw={320} openDelay={0}>{button}</Tooltip> : button;
}

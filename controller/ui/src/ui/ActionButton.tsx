// A button that says why it can't be pressed. It stays focusable while it refuses, so that the reason can be read
// with keyboard and screen reader too.
import { Button, Tooltip, type ButtonProps } from '@mantine/core';

interface Props extends ButtonProps {
  /** Why it can't be pressed; undefined when it can. */
  refusal?: string | undefined;
  onClick?: (() => void) | undefined;
  type?: 'button' | 'submit';
  children: React.ReactNode;
}

export function ActionButton({ refusal, onClick, type = 'button', children, ...rest }: Props) {
  const refused = refusal !== undefined;
  const button = (
    <Button {...rest} type={refused ? 'button' : type} onClick={refused ? undefined : onClick} data-disabled={refused || undefined} aria-disabled={refused || undefined}>
      {children}
      {refused && <span className="sr"> ({refusal})</span>}
    </Button>
  );
  return refused ? <Tooltip label={refusal} maw={320} openDelay={0}>{button}</Tooltip> : button;
}

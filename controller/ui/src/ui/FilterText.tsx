// The text filter of a list: `/` jumps to it; the URL follows a moment after the last key.
import { useEffect, useState } from 'react';
import { TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { Icon } from './Icon';

interface Props {
  label: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}

export function FilterText({ label, value, onChange }: Props) {
  const [text, setText] = useState(value ?? '');
  const [seen, setSeen] = useState(value);
  const send = useDebouncedCallback((next: string) => { onChange(next === '' ? undefined : next); }, { delay: 220, flushOnUnmount: false });
  // Back and Forward change the URL under the field.
  if (value !== seen) {
    setSeen(value);
    setText(value ?? '');
  }
  useEffect(() => () => { send.cancel(); }, [send]);
  return (
    <TextInput
      className="filter-text"
      size="xs"
      aria-label={label}
      placeholder={label}
      data-filter=""
      leftSection={<Icon name="search" size={14} />}
      value={text}
      onChange={(event) => {
        const next = event.currentTarget.value;
        setText(next);
        send(next.trim());
      }}
      onKeyDown={(event) => {
        if (event.key === 'Escape') event.currentTarget.blur();
      }}
    />
  );
}

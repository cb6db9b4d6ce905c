// A day as a filter of the audit; the URL holds the moment at which it begins where the reader is.
import { TextInput } from '@mantine/core';

interface Props {
  label: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}

export function FilterDay({ label, value, onChange }: Props) {
  return (
    <TextInput
      type="date"
      size="xs"
      aria-label={label}
      title={label}
      value={dayOf(value)}
      onChange={(event) => {
        const day = event.currentTarget.value;
        const begins = new Date(`${day}T00:00:00`);
        onChange(day === '' || Number.isNaN(begins.getTime()) ? undefined : begins.toISOString());
      }}
    />
  );
}

/** Returns the day on which a moment falls here, as a date field wants it. */
export function dayOf(moment: string | undefined): string {
  const at = new Date(moment ?? '');
  if (Number.isNaN(at.getTime())) return '';
  const two = (number: number): string => String(number).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

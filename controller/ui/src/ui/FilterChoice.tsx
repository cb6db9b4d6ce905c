// A filter of a list with a few choices.
import { Select } from '@mantine/core';

interface Props {
  label: string;
  value: string | undefined;
  choices: readonly (string | { value: string; label: string })[];
  onChange: (value: string | undefined) => void;
}

export function FilterChoice({ label, value, choices, onChange }: Props) {
  return (
    <Select
      className="filter-choice"
      size="xs"
      aria-label={label}
      placeholder={label}
      data={[...choices]}
      value={value ?? null}
      onChange={(next) => { onChange(next ?? undefined); }}
      clearable
      searchable={choices.length > 8}
      comboboxProps={{ transitionProps: { duration: 80 } }}
      nothingFoundMessage="None has this name"
    />
  );
}

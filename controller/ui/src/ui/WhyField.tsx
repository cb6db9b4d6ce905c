// Asks for the reason of an act, which the audit keeps.
import { TextInput } from '@mantine/core';

export function WhyField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return <TextInput label="Why" description="Stands in the audit" value={value} onChange={(event) => { onChange(event.currentTarget.value); }} maxLength={500} autoComplete="off" />;
}

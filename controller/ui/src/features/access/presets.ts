// The three presets of permissions, as people choose them.
import type { Preset } from '@/api/schema';

export const PRESETS: { value: Preset; label: string }[] = [
  { value: 'viewer', label: 'Viewer: sees, changes nothing' },
  { value: 'operator', label: 'Operator: changes the fleet' },
  { value: 'administrator', label: 'Administrator: also users and audit' },
];

const ORDER: readonly Preset[] = ['viewer', 'operator', 'administrator'];

/** Reads a choice; what is not a preset is the least one. */
export function presetOf(text: string | null): Preset {
  return ORDER.find((preset) => preset === text) ?? 'viewer';
}

/** Returns the presets that somebody with `own` may give. */
export function presetsUpTo(own: Preset): { value: Preset; label: string }[] {
  return PRESETS.filter((preset) => ORDER.indexOf(preset.value) <= ORDER.indexOf(own));
}

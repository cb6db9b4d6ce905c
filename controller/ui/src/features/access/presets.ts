// The presets of permissions, as people choose them.
import type { Preset } from '@/api/schema';

export const PRESETS: { value: Preset; label: string }[] = [
  { value: 'none', label: 'None: only what is granted' },
  { value: 'viewer', label: 'Viewer: sees, changes nothing' },
  { value: 'operator', label: 'Operator: changes the fleet' },
  { value: 'administrator', label: 'Administrator: also users and audit' },
];

/** All permissions that an answer can be about. */
export const PERMISSIONS = ['view', 'read_content', 'change', 'write_secret', 'run', 'manage_nodes', 'approve', 'freeze', 'protect', 'manage_users', 'view_audit'];

/** What a grant can name. */
export const GRANTABLE = ['viewer', 'operator', 'administrator', ...PERMISSIONS];

const ORDER: readonly Preset[] = ['none', 'viewer', 'operator', 'administrator'];

/** Reads a choice; what is not a preset is the least one. */
export function presetOf(text: string | null): Preset {
  return ORDER.find((preset) => preset === text) ?? 'viewer';
}

/** Returns the presets that somebody with `own` may give. */
export function presetsUpTo(own: Preset): { value: Preset; label: string }[] {
  return PRESETS.filter((preset) => preset.value !== 'none' && ORDER.indexOf(preset.value) <= ORDER.indexOf(own));
}

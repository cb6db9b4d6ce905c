// What overrides what, as far as a list shows it: objects that claim the same target in the fleet and in a closer scope.
// On which nodes it is so stands on each object's page, which the controller works out.
import type { ObjectSummary } from '@/api/schema';

export interface OverrideNote {
  text: string;
  isLoser: boolean;
}

/** Returns the notes by object id. Only pairs with the fleet are told: a role and a label need not have a node in common. */
export function overridesIn(objects: readonly ObjectSummary[]): Map<string, OverrideNote> {
  const notes = new Map<string, OverrideNote>();
  const byTarget = new Map<string, ObjectSummary[]>();
  for (const object of objects) {
    const target = targetOf(object);
    byTarget.set(target, [...(byTarget.get(target) ?? []), object]);
  }
  for (const same of byTarget.values()) {
    const wide = same.find((object) => object.scope === 'fleet');
    const close = same.filter((object) => object.scope !== 'fleet');
    if (wide === undefined || close.length === 0) continue;
    notes.set(wide.id, { text: `overridden in ${close.map((object) => object.scope).join(', ')}`, isLoser: true });
    close.forEach((object) => notes.set(object.id, { text: 'overrides fleet', isLoser: false }));
  }
  return notes;
}

function targetOf({ kind, name, summary }: ObjectSummary): string {
  if (kind === 'cron' || kind === 'hosts') return `${kind} ${name}`;
  return `path ${summary.split(/,? /, 1)[0] ?? name}`;
}

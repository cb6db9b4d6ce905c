// What a change is called: "10 objects" says nothing where somebody wrote why, or where few objects can be named.
import type { Change, ChangeSummary } from '@/api/schema';

const MOST_NAMED = 3;

function isGeneric(title: string): boolean {
  return /^\d+ objects?$/.test(title);
}

/** Returns the title for a list. */
export function changeTitle(change: ChangeSummary): string {
  return isGeneric(change.title) && change.reason !== '' ? change.reason : change.title;
}

/** Returns the title for the change's own page, where its objects are known. */
export function wholeTitle(change: Change): string {
  if (!isGeneric(change.title) || change.reason !== '') return changeTitle(change);
  const names = change.drafts.map((draft) => `${draft.key.kind} ${draft.key.name}`);
  const more = names.length - MOST_NAMED;
  if (names.length === 0) return change.title;
  return more > 0 ? `${names.slice(0, MOST_NAMED).join(', ')} and ${more} more` : names.join(', ');
}

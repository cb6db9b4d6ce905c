// Moments between the address bar (RFC 3339, UTC) and the browser's own field for date and time (local).

export const HOUR = 3_600_000;

/** Leaps from now. */
export const AGO = [['An hour ago', HOUR], ['Yesterday', 24 * HOUR], ['A week ago', 7 * 24 * HOUR], ['30 days ago', 30 * 24 * HOUR]] as const;

/** What the field shows for a moment. */
export function toInput(moment: string | undefined): string {
  const at = moment === undefined ? NaN : Date.parse(moment);
  if (Number.isNaN(at)) return '';
  const date = new Date(at);
  return new Date(at - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** The moment that the field says; nothing while it is not whole. */
export function fromInput(value: string): string | undefined {
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

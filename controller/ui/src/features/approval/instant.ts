// What a field of local time says, as the API wants it.

/** Returns RFC 3339 in UTC; undefined for what is no time. */
export function instantOf(local: string): string | undefined {
  const at = new Date(local);
  return local === '' || Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

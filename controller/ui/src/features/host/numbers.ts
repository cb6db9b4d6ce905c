// Whole numbers as somebody types them: what is none stays a text, and says so.

export const MOST_NUMBER = 4_294_967_295;

export function notANumber(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  return /^\d+$/.test(value.trim()) ? `${value.trim()} is too great: at most ${MOST_NUMBER}` : `“${value}” is no whole number: write digits alone`;
}

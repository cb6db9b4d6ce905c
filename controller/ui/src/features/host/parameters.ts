// What is wrong with the parameters of a script before the controller is asked.
import type { Parameter } from '@/api/schema';
import { notANumber } from './numbers';

/** Returns why no number can be between these bounds; nothing when one can, or when a bound is no number. */
export function boundsProblem({ min, max }: Pick<Parameter, 'min' | 'max'>): string | undefined {
  if (typeof min !== 'number' || typeof max !== 'number' || min <= max) return undefined;
  return `no number is at least ${min} and at most ${max}: make the smallest less than the greatest`;
}

/** Returns what is wrong with the first parameter that has a bound which is none. */
export function parametersProblem(parameters: readonly Parameter[]): string | undefined {
  for (const parameter of parameters) {
    const wrong = notANumber(parameter.min) ?? notANumber(parameter.max) ?? boundsProblem(parameter);
    if (wrong !== undefined) return `Parameter ${parameter.name === '' ? 'without a name' : parameter.name}: ${wrong}`;
  }
  return undefined;
}

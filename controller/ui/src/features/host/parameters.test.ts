// A parameter whose bounds contradict, or are no numbers, bars the plan.
import { expect, it } from 'vitest';
import { unreadable } from './fields';
import { boundsProblem, parametersProblem } from './parameters';

const days = { name: 'days', type: 'integer' as const };

it('bounds must let a number through', () => {
  expect(boundsProblem({ min: 5, max: 3 })).toContain('no number is at least 5 and at most 3');
  expect([boundsProblem({ min: 3, max: 3 }), boundsProblem({ min: -2 }), boundsProblem({})]).toEqual([undefined, undefined, undefined]);
});

it('names the parameter, and bars the plan', () => {
  const typed = '3O' as unknown as number;
  expect(parametersProblem([{ ...days, min: 1, max: 90 }])).toBeUndefined();
  expect(parametersProblem([{ ...days, max: typed }])).toBe('Parameter days: “3O” is no whole number: write digits alone');
  expect(unreadable({ parameters: [{ ...days, min: 9, max: 1 }] })).toContain('Parameter days');
  expect(unreadable({ parameters: [days] })).toBeUndefined();
});

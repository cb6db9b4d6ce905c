// A parameter says only what goes with its type, and nothing that is empty.
import { expect, it } from 'vitest';
import { ofType, without } from './ParametersField';

it('leaves out what is empty', () => {
  expect(without({ name: 'days', type: 'integer', help: '', default: '', required: false, min: 0 })).toEqual({ name: 'days', type: 'integer', min: 0 });
  expect(without({ name: '', type: 'text' })).toEqual({ name: '', type: 'text' });
});

it('keeps of another type what goes with that one', () => {
  const days = { name: 'days', type: 'integer' as const, help: 'kept', default: '30', min: 1, max: 90, required: true };
  expect(ofType(days, 'text')).toEqual({ name: 'days', type: 'text', help: 'kept', default: '30', required: true });
  expect(ofType(days, 'secret')).toEqual({ name: 'days', type: 'secret', help: 'kept', required: true });
  expect(ofType(days, 'choice').choices).toEqual([]);
});

// What is typed as a number or a variable and is none stays as it was typed, and bars the plan.
import { describe, expect, it } from 'vitest';
import { asEnvironment, asNumber, environmentTexts, unreadable } from './fields';
import { notANumber } from './numbers';

describe('numbers', () => {
  it('are read; nothing is none', () => {
    expect([asNumber('90'), asNumber(' 7 '), asNumber('')]).toEqual([90, 7, undefined]);
  });
  it('that are none stay, and say what is wrong', () => {
    for (const text of ['30m', '12x', '-1', '1.5', '99999999999']) {
      const kept = asNumber(text);
      expect(kept).toBe(text);
      expect(notANumber(kept)).toContain(text);
      expect(unreadable({ timeout_secs: kept })).toBeDefined();
    }
    expect(unreadable({ timeout_secs: 90, uid: undefined })).toBeUndefined();
  });
});

describe('variables', () => {
  it('keep their commas and their further equal signs', () => {
    const texts = ['OPTS=-a,-b', 'URL=a=b', 'EMPTY='];
    expect(asEnvironment(texts)).toEqual({ OPTS: '-a,-b', URL: 'a=b', EMPTY: '' });
    expect(environmentTexts(asEnvironment(texts))).toEqual(texts);
  });
  it('without an equal sign are refused, not set to nothing', () => {
    const environment = asEnvironment(['A=1', 'B2']);
    expect(environmentTexts(environment)).toEqual(['A=1', 'B2']);
    expect(unreadable({ environment })).toBe('“B2” has no “=”: write NAME=value');
  });
});

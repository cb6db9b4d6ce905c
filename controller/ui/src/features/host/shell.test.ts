import { expect, test } from 'vitest';
import { characterAt, dialectOf } from './shell';

test.each([
  ['#!/bin/sh\n', 'posix'],
  ['#!/bin/dash -e\n', 'posix'],
  ['#! /usr/bin/env bash\n', 'bash'],
  ['#!/usr/bin/env -S LC_ALL=C bash -eu\n', 'bash'],
  ['#!/usr/bin/perl\n', undefined],
  ['echo no line\n', undefined],
])('%j is %s', (content, dialect) => {
  expect(dialectOf(content)).toBe(dialect);
});

test('bytes of a line become characters', () => {
  expect(characterAt('  echo é )', 11)).toBe(10);
  expect(characterAt('echo', 1)).toBe(1);
  expect(characterAt('ab', 9)).toBe(3);
});

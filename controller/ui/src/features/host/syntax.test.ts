// What is said of a script that does not parse is what nodes do with it.
import { expect, it } from 'vitest';
import type { Body, Finding } from '@/api/schema';
import { scriptOf, syntaxWords } from './syntax';

const wrong = (message: string): Finding[] => [{ field: 'content', line: 3, column: 1, severity: 'error', message }];
const script = (content: string): Body => ({ kind: 'script', content });
const file = (validate?: 'script'): Body => ({ kind: 'file', path: '/x', content: '#!/bin/sh\nif\n', ...(validate === undefined ? {} : { validate }) });

it('nodes refuse what their interpreter does', () => {
  expect(syntaxWords(script('#!/bin/sh\nif\n'), [])).toBeUndefined();
  expect(syntaxWords(script('#!/bin/sh\nif\n'), [{ ...wrong('x')[0], field: 'content', message: 'x', severity: 'warning' }])).toBeUndefined();
  for (const [first, checker] of [['#!/bin/sh -e', 'sh -n'], ['#!/usr/bin/env bash', 'bash -n'], ['#!/usr/bin/perl -T', 'perl -c']] as const) {
    expect(syntaxWords(script(`${first}\nif\n`), wrong('reached EOF'))).toBe(`It can be saved, but nodes will refuse it: each checks it with ${checker} before it lands.`);
  }
  expect(syntaxWords(script('#!/bin/sh\na=(1)\n'), wrong('sh syntax: arrays are a bash feature; tried parsing as posix'))).toContain('refuses what that does');
});

it('where no node looks, it fails when it runs', () => {
  for (const body of [script('#!/bin/ksh\nif\n'), file()]) expect(syntaxWords(body, wrong('reached EOF'))).toContain('no node checks it');
  expect(syntaxWords(file('script'), wrong('reached EOF'))).toContain('nodes will refuse it');
  expect(syntaxWords({ kind: 'cron', schedule: '@daily', command: 'if' }, wrong('reached EOF'))).toContain('fails each time it runs');
});

it('a job is read as cron hands it to the shell', () => {
  expect(scriptOf({ kind: 'cron', schedule: '@daily', command: 'date +\\%F' })).toEqual({ text: 'date +%F', dialect: 'posix' });
  expect(scriptOf({ kind: 'file', path: '/x', content: 'aGk=', encoding: 'base64' }).dialect).toBeUndefined();
});

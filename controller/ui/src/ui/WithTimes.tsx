// A sentence of the controller's: the moments in it, which it tells in UTC, as everywhere else.
import { Fragment } from 'react';
import { Time } from './Time';
import { partsOf } from './time';

export function WithTimes({ text }: { text: string }) {
  return <>{partsOf(text).map((part, index) => <Fragment key={index}>{part.at === undefined ? part.text : <Time at={part.at} absolute />}</Fragment>)}</>;
}

// The output of an operation as it comes: one long question after the other, from where the last answer ended.
import { useEffect, useState } from 'react';
import { api, ApiError, take } from '@/api/client';
import { Output } from './output';

const WAIT_SECS = 20;
const RETRY_MS = 2_000;

export interface Following {
  output: Output;
  /** How many lines there are; the output itself is one object that grows. */
  count: number;
  isComplete: boolean;
  error: unknown;
}

const nothing = (): Following => ({ output: new Output(), count: 0, isComplete: false, error: null });

/** Follows one run, or all of them. */
export function useOutput(operation: string, run: string | undefined, isOn: boolean): Following {
  const what = `${operation}/${run ?? ''}/${String(isOn)}`;
  const [following, setFollowing] = useState({ what, ...nothing() });
  useEffect(() => {
    if (!isOn) return undefined;
    const ending = new AbortController();
    const isOver = (): boolean => ending.signal.aborted;
    let output = new Output();
    let shown = output;
    const show = (more: Partial<Following>): void => {
      if (!isOver()) setFollowing({ what, output: shown, count: shown.lines.length, isComplete: false, error: null, ...more });
    };
    const follow = async (): Promise<void> => {
      let after = 0;
      let seen: number | undefined;
      let isInTrouble = false;
      // Of a long output only the beginning and the end stay: what came live is more than what there is afterwards. So it
      // is read again when it has ended, and the lines with their numbers are those that everybody sees from then on.
      let wasLive = false;
      let isAgain = false;
      show({});
      while (!isOver()) {
        try {
          const query = { after: String(after), wait: WAIT_SECS, ...(run === undefined ? {} : { run }), ...(seen === undefined ? {} : { seen }) };
          const answer = await take(api.GET('/api/v1/operations/{operation}/output', { params: { path: { operation }, query }, signal: ending.signal }));
          answer.pieces.forEach((piece) => { output.take(piece); });
          after = answer.next;
          seen = answer.seen;
          wasLive ||= !answer.is_complete;
          if (answer.is_complete && answer.pieces.length === 0) {
            if (wasLive && !isAgain) {
              isAgain = true;
              output = new Output();
              after = 0;
              continue;
            }
            output.finish();
            shown = output;
            show({ isComplete: true });
            return;
          }
          // Also without anything to show an answer ends the trouble before it.
          if ((answer.pieces.length > 0 && !isAgain) || isInTrouble) show({});
          isInTrouble = false;
        } catch (error) {
          show({ error });
          isInTrouble = true;
          if (error instanceof ApiError && error.status >= 400 && error.status < 500) return;
          await new Promise((resolve) => { window.setTimeout(resolve, RETRY_MS); });
        }
      }
    };
    void follow();
    return () => { ending.abort(); };
  }, [operation, run, isOn, what]);
  return following.what === what ? following : nothing();
}

// Pages come as files of their own. One that can't be fetched says so in the frame: the router would load the window anew,
// and a browser without a controller shows its own error then.
import { root } from '@/api/client';

/** A page's file can't be had. */
export class PageNotFetched extends Error {}

export async function fetched<T>(page: Promise<T>): Promise<T> {
  return page.catch(async () => {
    throw new PageNotFetched(
      (await isAnswering())
        ? 'The controller has another version of the dashboard by now. Try again loads it; what you were editing is kept.'
        : 'The page could not be fetched from the controller. What you were editing is kept; try again once the connection is back.',
    );
  });
}

/** Loads the window anew, if the controller answers: a browser may remember that a file could not be had. Returns whether it does. */
export async function loadAnew(): Promise<boolean> {
  const answers = await isAnswering();
  if (answers) window.location.reload();
  return answers;
}

async function isAnswering(): Promise<boolean> {
  try {
    return (await fetch(new URL('api/v1/setup', root), { cache: 'no-store' })).ok;
  } catch {
    return false;
  }
}

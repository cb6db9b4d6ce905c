// Goes to a path of the dashboard that stands in data (a link of the controller's, the page before the sign-in).
import type { RegisteredRouter } from '@tanstack/react-router';

type Router = RegisteredRouter;

/** Returns the address of a path, under the prefix that the dashboard stands at. */
export function addressOf(router: Router, path: string): string {
  return `${router.basepath.replace(/\/$/, '')}/${path.replace(/^\/+/, '')}`;
}

export function pushPath(router: Router, path: string): void {
  router.history.push(addressOf(router, path));
}

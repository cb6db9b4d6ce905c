// A link to a path that the controller gave, relative to the dashboard's root.
import { useRouter } from '@tanstack/react-router';
import { addressOf, pushPath } from './push';

export function AppLink({ path, children }: { path: string; children: React.ReactNode }) {
  const router = useRouter();
  return (
    <a
      href={router.history.createHref(addressOf(router, path))}
      onClick={(event) => {
        if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        pushPath(router, path);
      }}
    >
      {children}
    </a>
  );
}

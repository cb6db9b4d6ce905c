// Starts the dashboard: theme, query cache, router.
import { createRoot } from 'react-dom/client';
import { StrictMode } from 'react';
import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { ApiError, root } from '@/api/client';
import { makeRouter } from '@/routes';
import { resolver, theme } from '@/theme/theme';
import '@/theme/mantine.css';
import '@/theme/tokens.css';
import '@/theme/base.css';
import '@/theme/frame.css';
import '@/theme/table.css';
import '@/theme/parts.css';
import '@/theme/operation.css';

// The page that most visits begin with is fetched beside the session, not after it.
if (location.pathname === root.pathname) void import('@/features/overview/OverviewPage');

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // Live events say what is stale; this is the net below them.
      staleTime: 30_000,
      refetchOnWindowFocus: true,
      // What the controller refuses, it refuses again; only silence and trouble of its own are tried once more.
      retry: (count, error) => count < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    },
  },
});
const router = makeRouter(client);

/** The nonce that the controller put into the page: without it the policy refuses the styles that Mantine injects. */
const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? '';

// The scroll lock below dialogs looks for the nonce under this name.
Object.assign(globalThis, { __webpack_nonce__: nonce });

const place = document.getElementById('root');
if (place === null) throw new Error('the page has no #root');
createRoot(place).render(
  <StrictMode>
    <MantineProvider theme={theme} cssVariablesResolver={resolver} defaultColorScheme="auto" getStyleNonce={() => nonce}>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);

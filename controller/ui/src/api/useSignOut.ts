// Ends the session, from the menu and from the palette.
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate, useRouter } from '@tanstack/react-router';
import { toastFailure } from '@/ui/toast';
import { api, take } from './client';
import { ENDED } from './session';

export function useSignOut(): () => void {
  const navigate = useNavigate();
  const router = useRouter();
  const client = useQueryClient();
  const signOut = useMutation({
    mutationFn: () => take(api.DELETE('/api/v1/session')),
    onSuccess: async () => {
      client.clear();
      // A question that was under way may have been told that the session is over.
      sessionStorage.removeItem(ENDED);
      await navigate({ to: '/sign-in' });
      await router.invalidate();
    },
    onError: toastFailure,
  });
  return () => { signOut.mutate(); };
}

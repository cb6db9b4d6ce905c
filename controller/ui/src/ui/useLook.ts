// Which row of a list is looked at beside it: it stands in the URL as `look`, so that Back closes it.
import { useNavigate, useSearch } from '@tanstack/react-router';

export interface LookState {
  look: string | undefined;
  setLook: (name: string | undefined) => void;
}

export function useLook(): LookState {
  const search: { look?: string } = useSearch({ strict: false });
  const navigate = useNavigate();
  const setLook = (name: string | undefined): void => {
    const options = {
      to: '.',
      search: (before: Record<string, unknown>) => {
        const rest = Object.fromEntries(Object.entries(before).filter(([key]) => key !== 'look'));
        return name === undefined ? rest : { ...rest, look: name };
      },
      // From one node to the next there is one step back, not twenty.
      replace: search.look !== undefined,
      resetScroll: false,
    };
    void navigate(options as Parameters<typeof navigate>[0]);
  };
  return { look: search.look, setLook };
}

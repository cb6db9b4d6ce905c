// The objects as one manifest, downloaded.
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { exportQuery } from '@/api/queries';
import { useRefusal } from '@/api/session';
import { ActionButton } from '@/ui/ActionButton';
import { Icon } from '@/ui/Icon';
import { plural } from '@/ui/plural';
import { toast, toastFailure } from '@/ui/toast';
import { download } from './manifest';

export function ExportButton({ scope, kind }: { scope?: string | undefined; kind?: string | undefined }) {
  const client = useQueryClient();
  const refusal = useRefusal('read_content');
  const fetchAll = useMutation({
    mutationFn: () => client.query({ ...exportQuery({ scope, kind }), staleTime: 0 }),
    onSuccess: (made) => {
      const name = ['lampas', scope?.replace(/[^a-zA-Z0-9._-]/g, '-'), kind].filter((part) => part !== undefined).join('-');
      download(`${name}.toml`, made.manifest);
      toast(`${plural(made.objects, 'object')} exported to ${name}.toml`);
    },
    onError: toastFailure,
  });
  return <ActionButton variant="default" refusal={refusal} loading={fetchAll.isPending} leftSection={<Icon name="download" />} onClick={() => { fetchAll.mutate(); }}>Export</ActionButton>;
}

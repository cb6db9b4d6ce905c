// "Enrol a node", or why not.
import { useNavigate } from '@tanstack/react-router';
import { useRefusal } from '@/api/session';
import { ActionButton } from '@/ui/ActionButton';
import { Icon } from '@/ui/Icon';

export function EnrolButton() {
  const navigate = useNavigate();
  return <ActionButton refusal={useRefusal('manage_nodes')} leftSection={<Icon name="plus" />} onClick={() => void navigate({ to: '/enrol' })}>Enrol a node</ActionButton>;
}

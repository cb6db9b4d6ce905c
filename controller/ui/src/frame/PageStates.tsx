// What stands where a page would be: while it comes, when it failed, when there is none.
import { Button } from '@mantine/core';
import { Link, useRouter, type ErrorComponentProps } from '@tanstack/react-router';
import { Empty } from '@/ui/Empty';
import { Failure } from '@/ui/Notice';
import { PageHead } from '@/ui/PageHead';
import { RowSkeletons } from '@/ui/Skeletons';
import { useTitle } from '@/ui/useTitle';
import { loadAnew, PageNotFetched } from './fetched';
import { useWithoutShell } from './shell';

export function PagePending() {
  return <RowSkeletons rows={6} />;
}

export function PageError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  useWithoutShell();
  const again = async (): Promise<void> => {
    if (error instanceof PageNotFetched && (await loadAnew())) return;
    reset();
    void router.invalidate();
  };
  return (
    <div className="page-alone">
      <PageHead title="This page could not be shown" />
      <Failure error={error} retry={<Button size="xs" variant="default" onClick={() => void again()}>Try again</Button>} />
    </div>
  );
}

/** An address within the dashboard that leads nowhere: the way around stays. */
export function NoSuchPage() {
  useTitle('No such page');
  return (
    <Empty title="There is no such page" action={<Link to="/">Go to the overview</Link>}>
      The address may be of another version, or what it showed is gone.
    </Empty>
  );
}

export function NotFound() {
  useWithoutShell();
  return (
    <div className="page-alone">
      <NoSuchPage />
    </div>
  );
}

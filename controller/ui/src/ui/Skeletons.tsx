// What stands where data will be: the same size, so that nothing jumps when it comes.
import { Skeleton } from '@mantine/core';

export function RowSkeletons({ rows = 8 }: { rows?: number }) {
  return (
    <div role="status" aria-label="Loading" className="skeleton-rows">
      {Array.from({ length: rows }, (_, index) => <Skeleton key={index} height={20} width={`${60 + ((index * 37) % 38)}%`} />)}
    </div>
  );
}

export function BlockSkeleton({ height = 160 }: { height?: number }) {
  return <div role="status" aria-label="Loading"><Skeleton height={height} /></div>;
}

// The same act on many nodes: a few at a time, all of them tried, and the failures named instead of the first one only.

export interface NodeRefLike {
  name: string;
}

// As many requests as a browser sends to one host at once.
const AT_ONCE = 6;
const NAMED = 3;

/** Does it on every node; throws one error that says on how many it failed and why. */
export async function eachNode<T extends NodeRefLike>(nodes: readonly T[], act: (node: T) => Promise<unknown>): Promise<void> {
  const failed: string[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < nodes.length) {
      const node = nodes[next];
      next += 1;
      if (node === undefined) return;
      try {
        await act(node);
      } catch (error) {
        failed.push(`${node.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, nodes.length) }, worker));
  if (failed.length === 0) return;
  const more = failed.length > NAMED ? ` And ${failed.length - NAMED} more.` : '';
  throw new Error(`Done on ${nodes.length - failed.length} of ${nodes.length} nodes, failed on ${failed.length}. ${failed.slice(0, NAMED).join(' ')}${more}`);
}

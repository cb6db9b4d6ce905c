// Acts on many nodes: every node is tried once, and failures do not hide each other.
import { expect, it } from 'vitest';
import { eachNode } from './eachNode';

const nodes = Array.from({ length: 20 }, (_, i) => ({ id: `n${i}`, name: `web-${i}` }));

it('reaches every node once', async () => {
  const reached: string[] = [];
  await eachNode(nodes, (node) => Promise.resolve(reached.push(node.name)));
  expect(reached.sort()).toEqual(nodes.map((node) => node.name).sort());
});

it('goes on after a failure, and says how many failed', async () => {
  const reached: string[] = [];
  const act = eachNode(nodes, (node) => {
    reached.push(node.name);
    return node.name === 'web-3' ? Promise.reject(new Error('it is not connected')) : Promise.resolve();
  });
  await expect(act).rejects.toThrow('Done on 19 of 20 nodes, failed on 1. web-3: it is not connected');
  expect(reached).toHaveLength(20);
});

// Tiles of the fleet map: all of them placed, none over another, found again under the pointer.
import { describe, expect, it } from 'vitest';
import type { MapTile } from '@/api/queries';
import { hit, inside, layOut, neighbour } from './mapLayout';

function fleet(count: number): MapTile[] {
  return Array.from({ length: count }, (_, i) => ({ name: `n${i}`, role: i % 3 === 0 ? null : i % 3 === 1 ? 'app' : 'database', state: 'online' as const, config: 'converged' as const, is_observing: false }));
}

describe.each([[1, 390], [41, 1_000], [5_000, 1_200]])('%i nodes on %i pixels', (count, width) => {
  const layout = layOut(fleet(count), width);

  it('places every tile inside and none twice', () => {
    expect(layout.tiles).toHaveLength(count);
    expect(new Set(layout.tiles.map((tile) => `${tile.x}/${tile.y}`)).size).toBe(count);
    expect(layout.tiles.every((tile) => tile.x >= 0 && tile.x + layout.size <= width && tile.y + layout.size <= layout.height)).toBe(true);
  });

  it('finds a tile under its middle', () => {
    const last = layout.tiles.length - 1;
    const tile = layout.tiles[last];
    expect(hit(layout, (tile?.x ?? 0) + layout.size / 2, (tile?.y ?? 0) + layout.size / 2)).toBe(last);
    expect(hit(layout, -1, -1)).toBeUndefined();
  });
});

it('names nodes without a role last', () => {
  expect(layOut(fleet(9), 400).groups.map((group) => group.role)).toEqual(['app', 'database', '']);
});

it('goes to the row below and stays at the edges', () => {
  const layout = layOut(fleet(300), 300);
  const below = neighbour(layout, 0, 0, 1);
  expect(layout.tiles[below]?.x).toBe(layout.tiles[0]?.x);
  expect(layout.tiles[below]?.y).toBeGreaterThan(layout.tiles[0]?.y ?? 0);
  expect(neighbour(layout, 0, -1, 0)).toBe(0);
  expect(neighbour(layout, 299, 0, 1)).toBe(299);
});

it('a box takes every tile that it touches, and no other', () => {
  const layout = layOut(fleet(41), 1_000);
  const [first] = layout.tiles;
  if (first === undefined) throw new Error('there is a tile');
  expect(inside(layout, { left: 0, top: 0, right: 1_000, bottom: layout.height })).toHaveLength(41);
  expect(inside(layout, { left: first.x + 1, top: first.y + 1, right: first.x + 2, bottom: first.y + 2 })).toEqual([first.tile]);
  expect(inside(layout, { left: 0, top: 0, right: 1_000, bottom: first.y })).toEqual([]);
});

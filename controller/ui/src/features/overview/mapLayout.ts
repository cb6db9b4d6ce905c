// Where each node's tile stands on the fleet map: groups by role one below the other, tiles in rows, smaller the
// more there are, so that 5,000 nodes fit on one screen.
import type { FleetMapTile } from '@/api/schema';

export interface PlacedTile {
  tile: FleetMapTile;
  x: number;
  y: number;
}

export interface PlacedGroup {
  role: string;
  count: number;
  y: number;
}

export interface MapLayout {
  size: number;
  gap: number;
  height: number;
  groups: PlacedGroup[];
  tiles: PlacedTile[];
}

const HEAD = 24;
const BETWEEN = 12;

/** Returns the edge of a tile and the gap beside it, in pixels. */
export function tileSize(count: number): { size: number; gap: number } {
  if (count <= 80) return { size: 26, gap: 6 };
  if (count <= 400) return { size: 18, gap: 4 };
  if (count <= 1500) return { size: 13, gap: 3 };
  return { size: 9, gap: 2 };
}

export function layOut(tiles: readonly FleetMapTile[], width: number): MapLayout {
  const { size, gap } = tileSize(tiles.length);
  const step = size + gap;
  const perRow = Math.max(1, Math.floor((width + gap) / step));
  const byRole = new Map<string, FleetMapTile[]>();
  for (const tile of tiles) {
    const role = tile.role ?? '';
    const group = byRole.get(role);
    if (group === undefined) byRole.set(role, [tile]);
    else group.push(tile);
  }
  // Nodes without a role come last.
  const names = [...byRole.keys()].sort((a, b) => (a === '' ? 1 : b === '' ? -1 : a.localeCompare(b)));
  const layout: MapLayout = { size, gap, height: 0, groups: [], tiles: [] };
  let y = 0;
  for (const role of names) {
    const group = byRole.get(role) ?? [];
    layout.groups.push({ role, count: group.length, y });
    y += HEAD;
    group.forEach((tile, index) => layout.tiles.push({ tile, x: (index % perRow) * step, y: y + Math.floor(index / perRow) * step }));
    y += Math.ceil(group.length / perRow) * step + BETWEEN;
  }
  layout.height = Math.max(0, y - BETWEEN);
  return layout;
}

/** Returns the index of the tile under a point; the gap belongs to nobody. */
export function hit(layout: MapLayout, x: number, y: number): number | undefined {
  const index = layout.tiles.findIndex((placed) => x >= placed.x && x < placed.x + layout.size && y >= placed.y && y < placed.y + layout.size);
  return index === -1 ? undefined : index;
}

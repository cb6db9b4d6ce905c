// Where each node's tile stands on the fleet map: groups by role one below the other, tiles in rows, smaller the
// more there are, so that 5,000 nodes fit on one screen.
import type { MapTile } from '@/api/queries';

export interface PlacedTile {
  tile: MapTile;
  x: number;
  y: number;
}

export interface PlacedGroup {
  role: string;
  count: number;
  x: number;
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
const ASIDE = 28;
// Room for the name of a role with few nodes.
const LEAST_GROUP = 96;

/** Returns the edge of a tile and the gap beside it, in pixels. */
export function tileSize(count: number): { size: number; gap: number } {
  if (count <= 80) return { size: 26, gap: 6 };
  if (count <= 400) return { size: 18, gap: 4 };
  if (count <= 1500) return { size: 13, gap: 3 };
  return { size: 9, gap: 2 };
}

export function layOut(tiles: readonly MapTile[], width: number): MapLayout {
  const { size, gap } = tileSize(tiles.length);
  const step = size + gap;
  const perRow = Math.max(1, Math.floor((width + gap) / step));
  const byRole = new Map<string, MapTile[]>();
  for (const tile of tiles) {
    const role = tile.role ?? '';
    const group = byRole.get(role);
    if (group === undefined) byRole.set(role, [tile]);
    else group.push(tile);
  }
  // Nodes without a role come last.
  const names = [...byRole.keys()].sort((a, b) => (a === '' ? 1 : b === '' ? -1 : a.localeCompare(b)));
  const layout: MapLayout = { size, gap, height: 0, groups: [], tiles: [] };
  // Small groups stand beside each other while they fit.
  let x = 0;
  let y = 0;
  let rowHeight = 0;
  for (const role of names) {
    const group = byRole.get(role) ?? [];
    const groupWidth = Math.max(Math.min(group.length, perRow) * step, LEAST_GROUP);
    const height = HEAD + Math.ceil(group.length / perRow) * step;
    if (x > 0 && x + groupWidth > width) {
      x = 0;
      y += rowHeight + BETWEEN;
      rowHeight = 0;
    }
    layout.groups.push({ role, count: group.length, x, y });
    group.forEach((tile, index) => layout.tiles.push({ tile, x: x + (index % perRow) * step, y: y + HEAD + Math.floor(index / perRow) * step }));
    rowHeight = Math.max(rowHeight, height);
    x += groupWidth + ASIDE;
  }
  layout.height = y + rowHeight;
  return layout;
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Returns the nodes whose tiles a box touches. */
export function inside(layout: MapLayout, box: Box): MapTile[] {
  const { size } = layout;
  return layout.tiles.filter(({ x, y }) => x < box.right && x + size > box.left && y < box.bottom && y + size > box.top).map(({ tile }) => tile);
}

/** Returns the index of the tile under a point; the gap belongs to nobody. */
export function hit(layout: MapLayout, x: number, y: number): number | undefined {
  const index = layout.tiles.findIndex((placed) => x >= placed.x && x < placed.x + layout.size && y >= placed.y && y < placed.y + layout.size);
  return index === -1 ? undefined : index;
}

/** Returns the tile that lies next in a direction: along the list sideways, the nearest one of the next row otherwise. */
export function neighbour(layout: MapLayout, from: number, dx: number, dy: number): number {
  const last = layout.tiles.length - 1;
  if (dy === 0) return Math.min(Math.max(from + dx, 0), last);
  const here = layout.tiles[from];
  if (here === undefined) return 0;
  let best = from;
  let distance = Infinity;
  layout.tiles.forEach((tile, index) => {
    const down = (tile.y - here.y) * dy;
    // A row further costs more than any way sideways.
    const cost = down * 1_000 + Math.abs(tile.x - here.x);
    if (down > 0 && cost < distance) {
      best = index;
      distance = cost;
    }
  });
  return best;
}

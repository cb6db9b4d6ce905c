// The fleet map: one tile a node on a canvas. Hover names it, click opens it, arrow keys and Enter do the same.
import { useEffect, useMemo, useRef, useState } from 'react';
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useNavigate } from '@tanstack/react-router';
import type { FleetMapTile } from '@/api/schema';
import { nodeState } from '@/components/nodeState';
import { StateBadge } from '@/components/StateBadge';
import { look } from '@/theme/status';
import { plural } from '@/ui/plural';
import { draw } from './mapDraw';
import { hit, layOut, neighbour } from './mapLayout';

export function FleetMap({ tiles }: { tiles: readonly FleetMapTile[] }) {
  const { ref, width } = useElementSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const scheme = useComputedColorScheme();
  const navigate = useNavigate();
  const [active, setActive] = useState<number>();
  const layout = useMemo(() => layOut(tiles, width), [tiles, width]);
  const placed = active === undefined ? undefined : layout.tiles[active];

  useEffect(() => {
    if (canvas.current !== null && width > 0) draw(canvas.current, layout, width, active);
  }, [layout, width, active, scheme]);

  const find = (event: React.PointerEvent<HTMLCanvasElement>): number | undefined => {
    const box = event.currentTarget.getBoundingClientRect();
    return hit(layout, event.clientX - box.left, event.clientY - box.top);
  };
  const open = (index: number | undefined): void => {
    const node = index === undefined ? undefined : layout.tiles[index]?.tile;
    if (node !== undefined) void navigate({ to: '/nodes/$node', params: { node: node.name } });
  };
  const onKey = (event: React.KeyboardEvent): void => {
    const steps: Record<string, [number, number]> = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const step = steps[event.key];
    if (step !== undefined) {
      event.preventDefault();
      setActive(active === undefined ? 0 : neighbour(layout, active, step[0], step[1]));
    } else if (event.key === 'Enter') {
      open(active);
    }
  };
  return (
    <div className="map" ref={ref}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-label={`Fleet map of ${plural(tiles.length, 'node')}. Arrow keys move, Enter opens a node. The same nodes are listed under Nodes.`}
        data-hit={placed === undefined ? undefined : ''}
        onPointerMove={(event) => { setActive(find(event)); }}
        onPointerLeave={() => { setActive(undefined); }}
        onBlur={() => { setActive(undefined); }}
        onClick={() => { open(active); }}
        onKeyDown={onKey}
      />
      {placed !== undefined && (
        <div className="map-tip" style={{ left: Math.min(placed.x, Math.max(0, width - 180)), top: placed.y + layout.size + 8 }}>
          <strong>{placed.tile.name}</strong>
          <div><StateBadge state={nodeState(placed.tile)} /></div>
        </div>
      )}
      <span className="sr" aria-live="polite">{placed === undefined ? '' : `${placed.tile.name}, ${look(nodeState(placed.tile)).word}`}</span>
    </div>
  );
}

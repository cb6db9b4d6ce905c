// The fleet map: one tile a node on a canvas. Hover names it, a click looks at it, dragging selects; arrow keys walk
// over the tiles, Enter opens, `x` selects. What moves with the pointer lies over the canvas: nothing is drawn anew.
import { useEffect, useMemo, useRef, useState } from 'react';
import { useComputedColorScheme } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import type { MapTile } from '@/api/queries';
import { nodeState } from '@/components/nodeState';
import { StateBadge } from '@/components/StateBadge';
import { look } from '@/theme/status';
import { plural } from '@/ui/plural';
import { useWidth } from '@/ui/useWidth';
import { draw } from './mapDraw';
import { hit, inside, layOut, neighbour, type Box } from './mapLayout';

interface Props {
  tiles: readonly MapTile[];
  /** The names of the selected nodes. */
  selected: ReadonlySet<string>;
  onSelect: (next: ReadonlySet<string>) => void;
  onLook: (name: string) => void;
}

interface Drag {
  fromX: number;
  fromY: number;
  box: Box | undefined;
  /** What stays selected while the box is drawn. */
  kept: ReadonlySet<string>;
}

// A hand that shakes is not a drag.
const DRAG_FROM = 5;

export function FleetMap({ tiles, selected, onSelect, onLook }: Props) {
  const [ref, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const scheme = useComputedColorScheme();
  const navigate = useNavigate();
  const [active, setActive] = useState<number>();
  const [drag, setDrag] = useState<Drag>();
  const layout = useMemo(() => layOut(tiles, width), [tiles, width]);
  const placed = active === undefined ? undefined : layout.tiles[active];

  useEffect(() => {
    if (canvas.current !== null && width > 0) draw(canvas.current, layout, width, selected);
  }, [layout, width, selected, scheme]);

  const at = (event: React.PointerEvent<HTMLCanvasElement>): [number, number] => {
    const box = event.currentTarget.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const nodeAt = (index: number | undefined): MapTile | undefined => (index === undefined ? undefined : layout.tiles[index]?.tile);
  const toggle = (name: string): void => {
    const next = new Set(selected);
    if (!next.delete(name)) next.add(name);
    onSelect(next);
  };

  const onDown = (event: React.PointerEvent<HTMLCanvasElement>): void => {
    // A finger scrolls the page.
    if (event.button !== 0 || event.pointerType === 'touch') return;
    const [fromX, fromY] = at(event);
    const isMore = event.shiftKey || event.ctrlKey || event.metaKey;
    setDrag({ fromX, fromY, box: undefined, kept: isMore ? selected : new Set() });
  };
  const onMove = (event: React.PointerEvent<HTMLCanvasElement>): void => {
    const [x, y] = at(event);
    if (drag === undefined) {
      setActive(hit(layout, x, y));
      return;
    }
    if (drag.box === undefined && Math.hypot(x - drag.fromX, y - drag.fromY) < DRAG_FROM) return;
    if (drag.box === undefined) event.currentTarget.setPointerCapture(event.pointerId);
    const box = { left: Math.min(x, drag.fromX), top: Math.min(y, drag.fromY), right: Math.max(x, drag.fromX), bottom: Math.max(y, drag.fromY) };
    setActive(undefined);
    setDrag({ ...drag, box });
    onSelect(new Set([...drag.kept, ...inside(layout, box).map((tile) => tile.name)]));
  };
  const onUp = (event: React.PointerEvent<HTMLCanvasElement>): void => {
    const isDragged = drag?.box !== undefined;
    setDrag(undefined);
    if (isDragged || event.button !== 0) return;
    const [x, y] = at(event);
    const node = nodeAt(hit(layout, x, y));
    if (node === undefined) {
      if (selected.size > 0) onSelect(new Set());
    } else if (event.shiftKey || event.ctrlKey || event.metaKey) {
      toggle(node.name);
    } else {
      onLook(node.name);
    }
  };
  const onKey = (event: React.KeyboardEvent): void => {
    const steps: Record<string, [number, number]> = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const step = steps[event.key];
    const node = nodeAt(active);
    if (step !== undefined) {
      event.preventDefault();
      setActive(active === undefined ? 0 : neighbour(layout, active, step[0], step[1]));
    } else if (event.key === 'Escape' && selected.size > 0) {
      event.preventDefault();
      onSelect(new Set());
    } else if (node !== undefined && event.key === 'Enter') {
      void navigate({ to: '/nodes/$node', params: { node: node.name } });
    } else if (node !== undefined && (event.key === 'x' || event.key === ' ')) {
      event.preventDefault();
      toggle(node.name);
    } else if (node !== undefined && event.key === 'v') {
      onLook(node.name);
    }
  };
  const box = drag?.box;
  return (
    <div className="map" ref={ref}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-label={`Fleet map of ${plural(tiles.length, 'node')}. Arrow keys move, Enter opens a node, v looks at it, x selects it. The same nodes are listed under Nodes.`}
        style={{ height: layout.height }}
        data-hit={placed === undefined ? undefined : ''}
        onPointerDown={onDown}
        onPointerMove={onMove}
        onPointerUp={onUp}
        onPointerCancel={() => { setDrag(undefined); }}
        onPointerLeave={() => { setActive(undefined); }}
        onBlur={() => { setActive(undefined); }}
        onKeyDown={onKey}
      />
      {placed !== undefined && (
        <>
          <div className="map-ring" style={{ left: placed.x - 2, top: placed.y - 2, width: layout.size + 4, height: layout.size + 4 }} />
          <div className="map-tip" style={{ left: Math.min(placed.x, Math.max(0, width - 180)), top: placed.y + layout.size + 8 }}>
            <strong>{placed.tile.name}</strong>
            <div><StateBadge state={nodeState(placed.tile)} /></div>
          </div>
        </>
      )}
      {box !== undefined && <div className="map-box" style={{ left: box.left, top: box.top, width: box.right - box.left, height: box.bottom - box.top }} />}
      <span className="sr" aria-live="polite">{placed === undefined ? '' : `${placed.tile.name}, ${look(nodeState(placed.tile)).word}${selected.has(placed.tile.name) ? ', selected' : ''}`}</span>
    </div>
  );
}

// Draws the fleet map. The shapes are those of `ui/ShapeMark`, so that map and lists say the same.
import { nodeState } from '@/components/nodeState';
import { look, type Shape } from '@/theme/status';
import type { MapLayout } from './mapLayout';

export function draw(canvas: HTMLCanvasElement, layout: MapLayout, width: number, selected: ReadonlySet<string>): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(layout.height * scale);
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  context.font = `500 12px ${style.fontFamily}`;
  context.textBaseline = 'middle';
  const [text, dim, focus] = [colour('text'), colour('dim'), colour('focus')];
  for (const group of layout.groups) {
    const name = group.role === '' ? 'no role' : group.role;
    context.fillStyle = text;
    context.fillText(name, group.x, group.y + 10);
    const after = group.x + context.measureText(name).width + 8;
    context.fillStyle = dim;
    context.fillText(group.count.toLocaleString('en-US'), after, group.y + 10);
  }
  // Each state is drawn once and then copied: 5,000 tiles cost 5,000 copies, not 5,000 drawings.
  const stamps = new Map<string, HTMLCanvasElement>();
  for (const { tile, x, y } of layout.tiles) {
    const state = nodeState(tile);
    let stamp = stamps.get(state);
    if (stamp === undefined) {
      const { tone, shape } = look(state);
      stamp = makeStamp(shape, colour(tone), layout.size, scale);
      stamps.set(state, stamp);
    }
    context.drawImage(stamp, x, y, layout.size, layout.size);
  }
  if (selected.size === 0) return;
  context.strokeStyle = focus;
  context.lineWidth = 2;
  context.beginPath();
  for (const { tile, x, y } of layout.tiles) {
    if (selected.has(tile.name)) context.roundRect(x - 1, y - 1, layout.size + 2, layout.size + 2, 4);
  }
  context.stroke();
}

function makeStamp(shape: Shape, tint: string, size: number, scale: number): HTMLCanvasElement {
  const stamp = document.createElement('canvas');
  stamp.width = Math.ceil(size * scale);
  stamp.height = Math.ceil(size * scale);
  const context = stamp.getContext('2d');
  if (context === null) return stamp;
  context.scale(scale, scale);
  const isSmall = size < 12;
  if (!isSmall) {
    context.globalAlpha = 0.13;
    context.fillStyle = tint;
    context.beginPath();
    context.roundRect(0, 0, size, size, 4);
    context.fill();
    context.globalAlpha = 1;
  }
  outline(context, shape, size / 2, size / 2, isSmall ? size - 1 : Math.min(12, size * 0.55), tint);
  return stamp;
}

function outline(context: CanvasRenderingContext2D, shape: Shape, x: number, y: number, size: number, tint: string): void {
  const r = size / 2;
  context.fillStyle = tint;
  context.strokeStyle = tint;
  context.lineWidth = Math.max(1.2, size / 7);
  context.setLineDash([]);
  context.beginPath();
  switch (shape) {
    case 'disc':
      context.arc(x, y, r * 0.9, 0, Math.PI * 2);
      context.fill();
      return;
    case 'half':
      context.arc(x, y, r * 0.8, 0, Math.PI * 2);
      context.stroke();
      context.beginPath();
      context.arc(x, y, r * 0.8, Math.PI / 2, (Math.PI * 3) / 2);
      context.fill();
      return;
    case 'diamond':
      context.moveTo(x, y - r);
      context.lineTo(x + r, y);
      context.lineTo(x, y + r);
      context.lineTo(x - r, y);
      context.fill();
      return;
    case 'triangle':
      context.moveTo(x, y - r);
      context.lineTo(x + r, y + r * 0.85);
      context.lineTo(x - r, y + r * 0.85);
      context.fill();
      return;
    case 'square':
      context.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
      context.fill();
      return;
    case 'ring':
    case 'dashed':
      if (shape === 'dashed') context.setLineDash([size / 6, size / 6]);
      context.arc(x, y, r * 0.75, 0, Math.PI * 2);
      break;
    case 'eye':
      context.arc(x, y, r * 0.75, 0, Math.PI * 2);
      context.moveTo(x + r * 0.3, y);
      context.arc(x, y, r * 0.3, 0, Math.PI * 2);
      break;
    case 'bars':
      context.moveTo(x - r * 0.4, y - r * 0.7);
      context.lineTo(x - r * 0.4, y + r * 0.7);
      context.moveTo(x + r * 0.4, y - r * 0.7);
      context.lineTo(x + r * 0.4, y + r * 0.7);
      break;
    case 'cross':
      context.moveTo(x - r * 0.7, y - r * 0.7);
      context.lineTo(x + r * 0.7, y + r * 0.7);
      context.moveTo(x + r * 0.7, y - r * 0.7);
      context.lineTo(x - r * 0.7, y + r * 0.7);
      break;
    case 'check':
      context.moveTo(x - r * 0.7, y);
      context.lineTo(x - r * 0.2, y + r * 0.5);
      context.lineTo(x + r * 0.7, y - r * 0.5);
      break;
    case 'undo':
      context.moveTo(x - r * 0.2, y - r * 0.7);
      context.lineTo(x - r * 0.7, y - r * 0.3);
      context.lineTo(x - r * 0.2, y + r * 0.1);
      context.moveTo(x - r * 0.7, y - r * 0.3);
      context.lineTo(x + r * 0.7, y - r * 0.3);
      context.lineTo(x + r * 0.7, y + r * 0.6);
      break;
    case 'dot':
      context.arc(x, y, r * 0.35, 0, Math.PI * 2);
      context.fill();
      return;
    case 'dash':
      context.moveTo(x - r * 0.7, y);
      context.lineTo(x + r * 0.7, y);
  }
  context.stroke();
  context.setLineDash([]);
}

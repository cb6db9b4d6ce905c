// Draws the fleet map. The shapes are those of `ui/ShapeMark`, so that map and lists say the same.
import { nodeState } from '@/components/nodeState';
import { look, type Shape } from '@/theme/status';
import type { MapLayout } from './mapLayout';

export function draw(canvas: HTMLCanvasElement, layout: MapLayout, width: number, active: number | undefined): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(layout.height * scale);
  canvas.style.height = `${layout.height}px`;
  context.scale(scale, scale);
  context.clearRect(0, 0, width, layout.height);
  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  context.font = `500 12px ${style.fontFamily}`;
  context.textBaseline = 'middle';
  for (const group of layout.groups) {
    const name = group.role === '' ? 'no role' : group.role;
    context.fillStyle = colour('text');
    context.fillText(name, group.x, group.y + 10);
    const after = group.x + context.measureText(name).width + 8;
    context.fillStyle = colour('dim');
    context.fillText(group.count.toLocaleString('en-US'), after, group.y + 10);
  }
  const isSmall = layout.size < 12;
  layout.tiles.forEach(({ tile, x, y }, index) => {
    const { tone, shape } = look(nodeState(tile));
    const tint = colour(tone);
    if (!isSmall) {
      context.globalAlpha = 0.13;
      context.fillStyle = tint;
      context.beginPath();
      context.roundRect(x, y, layout.size, layout.size, 4);
      context.fill();
      context.globalAlpha = 1;
    }
    const inner = isSmall ? layout.size - 1 : Math.min(12, layout.size * 0.55);
    outline(context, shape, x + layout.size / 2, y + layout.size / 2, inner, tint);
    if (index === active) {
      context.strokeStyle = colour('focus');
      context.lineWidth = 2;
      context.beginPath();
      context.roundRect(x - 2, y - 2, layout.size + 4, layout.size + 4, 5);
      context.stroke();
    }
  });
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
    case 'dash':
      context.moveTo(x - r * 0.7, y);
      context.lineTo(x + r * 0.7, y);
  }
  context.stroke();
  context.setLineDash([]);
}

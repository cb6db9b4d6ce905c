// "12 new": rows that arrived meanwhile and wait to be asked for.
import { plural } from './plural';

export function Waiting({ count, noun, many = `${noun}s`, onShow }: { count: number; noun: string; many?: string; onShow: () => void }) {
  if (count === 0) return null;
  return (
    <button type="button" className="waiting" onClick={onShow}>
      {plural(count, `new ${noun}`, `new ${many}`)} · show
    </button>
  );
}

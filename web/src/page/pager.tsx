import { count } from "../format.ts";

interface PagerProps {
  label: string;
  offset: number;
  limit: number;
  total: number;
  onOffset: (offset: number) => void;
}

/** Steps through a long list; nothing is shown where there is only one page. */
export function Pager({ label, offset, limit, total, onOffset }: PagerProps) {
  if (total <= limit) return null;
  const last = Math.floor((total - 1) / limit) * limit;
  const to = Math.min(total, offset + limit);
  const isFirst = offset === 0;
  const isLast = offset >= last;
  return (
    <nav className="pager" aria-label={`Pages of ${label.toLowerCase()}`}>
      <button type="button" disabled={isFirst} onClick={() => onOffset(0)}>
        First
      </button>
      <button type="button" disabled={isFirst} onClick={() => onOffset(Math.max(0, offset - limit))}>
        Previous
      </button>
      <span className="num">
        {count(offset + 1)}–{count(to)} of {count(total)}
      </span>
      <button type="button" disabled={isLast} onClick={() => onOffset(offset + limit)}>
        Next
      </button>
      <button type="button" disabled={isLast} onClick={() => onOffset(last)}>
        Last
      </button>
    </nav>
  );
}

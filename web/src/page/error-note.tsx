import type { ApiError } from "../api/client.ts";

/** An error as the server tells it: what, why, what to do. */
export function ErrorNote({ error }: { error: ApiError }) {
  return (
    <div className="error-note" role="alert">
      <strong>{error.message}</strong>
      {error.detail && <pre>{error.detail}</pre>}
      {error.hint && <p>Hint: {error.hint}</p>}
    </div>
  );
}

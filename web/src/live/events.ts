import { apiUrl } from "../api/client.ts";
import { parseExact } from "../api/exact-json.ts";

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 8_000;
/** Figures come twice a second; a stream that is silent for this long is dead, whatever TCP says. */
const SILENCE_MS_MAX = 6_000;
const WATCH_INTERVAL_MS = 1_000;

export interface EventHandlers {
  /** The stream is open: `hello` has arrived. */
  opened: () => void;
  /** The stream is gone; the next try is `retryInMs` away. */
  lost: (retryInMs: number) => void;
  message: (event: string, data: unknown) => void;
}

const EVENTS = ["stats", "view", "alert", "dead_letter", "verification"] as const;

/**
 * Server-sent events that notice when they have died.
 *
 * The browser's own reconnecting is not used: it neither tells when the next try comes, nor backs
 * off, nor notices a connection that is open but silent (a sleeping laptop, a lost network).
 */
export class EventStream {
  private source: EventSource | null = null;
  private retryTimer: number | undefined;
  private failures = 0;
  private heardAt = 0;
  private readonly handlers: EventHandlers;

  constructor(handlers: EventHandlers) {
    this.handlers = handlers;
  }

  /** Connects and stays connected; returns what ends it. */
  start(): () => void {
    const watch = window.setInterval(() => this.watch(), WATCH_INTERVAL_MS);
    const hurry = () => this.hurry();
    window.addEventListener("online", hurry);
    document.addEventListener("visibilitychange", hurry);
    this.connect();
    return () => {
      window.clearInterval(watch);
      window.clearTimeout(this.retryTimer);
      window.removeEventListener("online", hurry);
      document.removeEventListener("visibilitychange", hurry);
      this.source?.close();
      this.source = null;
    };
  }

  private connect(): void {
    window.clearTimeout(this.retryTimer);
    this.heardAt = Date.now();
    const source = new EventSource(apiUrl("events"));
    this.source = source;
    const listen = (event: string, heard: (data: unknown) => void) =>
      source.addEventListener(event, (message: MessageEvent<string>) => {
        if (this.source !== source) return;
        this.heardAt = Date.now();
        heard(parseExact(message.data));
      });
    listen("hello", () => {
      this.failures = 0;
      this.handlers.opened();
    });
    for (const event of EVENTS) listen(event, (data) => this.handlers.message(event, data));
    source.addEventListener("error", () => {
      if (this.source === source) this.fail();
    });
  }

  private fail(): void {
    this.source?.close();
    this.source = null;
    const backoff = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.failures);
    // Spread out, so that many open pages do not all come back in the same instant.
    const retryInMs = Math.round(backoff * (0.75 + Math.random() / 2));
    this.failures += 1;
    this.handlers.lost(retryInMs);
    this.retryTimer = window.setTimeout(() => this.connect(), retryInMs);
  }

  private watch(): void {
    if (this.source !== null && Date.now() - this.heardAt > SILENCE_MS_MAX) this.fail();
  }

  /** Someone looks at the page, or the network is back: the next try is now. */
  private hurry(): void {
    if (document.hidden) return;
    this.watch();
    if (this.source === null) this.connect();
  }
}

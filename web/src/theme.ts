import { cell } from "./live/cell.ts";

export type Theme = "system" | "light" | "dark";
export const THEMES: readonly Theme[] = ["system", "light", "dark"];

const STORAGE_KEY = "syncline.theme";

export const theme = cell<Theme>("system");
/** Rises whenever the colours may have changed: charts on a canvas read them again. */
export const paletteRevision = cell(0);

const repaint = () => paletteRevision.set(paletteRevision.get() + 1);

/** Takes the stored choice; call once, before the first render. */
export function startTheme(): void {
  const stored = readStored();
  apply(THEMES.find((t) => t === stored) ?? "system");
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
}

export function chooseTheme(next: Theme): void {
  try {
    window.localStorage.setItem(STORAGE_KEY, next);
  } catch {
    // Storage may be forbidden: the choice then lasts as long as the page.
  }
  apply(next);
}

function readStored(): string | null {
  try {
    return window.localStorage.getItem(STORAGE_KEY);
  } catch {
    return null;
  }
}

function apply(next: Theme): void {
  document.documentElement.dataset["theme"] = next;
  theme.set(next);
  repaint();
}

/** What a CSS custom property stands for right now, as a colour that a canvas understands. */
export function resolveColor(property: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${property})`;
  probe.hidden = true;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

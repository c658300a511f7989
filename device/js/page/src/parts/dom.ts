// Elements by hand: a tag, what it has, and what is in it.

type Content = Node | string | null;

interface Having {
  readonly [attribute: string]: string | number | boolean | ((event: never) => void) | null | undefined;
}

/** `on…` are listeners; true is an attribute without a value; null, undefined and false are none. */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  having: Having = {},
  ...content: readonly Content[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(having)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value as EventListener);
    else if (value !== null && value !== undefined && value !== false)
      made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...content.filter((one) => one !== null));
  return made;
}

/** Where the keyboard was last. A button that is off for a while loses the focus, and has it back from `refocus`. */
let last: Element | null = null;
addEventListener("focusin", ({ target }) => void (last = target as Element));
addEventListener("pointerdown", () => void (last = null), true); // what is pressed has the focus then

/** Now, or from the next `refocus` on where it is off. */
export function focusOn(element: Element | null | undefined): void {
  last = element ?? null;
  (last as HTMLElement | null)?.focus();
}

/** Back to where the keyboard was, unless it is elsewhere by now. */
export function refocus(): void {
  if (document.activeElement === document.body && last?.isConnected) focusOn(last);
}

/** In place of all that was in `parent`. The focus stays on the element with the same `data-focus`, goes on to the one in its place
 * where that is gone, and to the part of the page around it where there is none. */
export function fill(parent: Element, ...content: readonly Content[]): void {
  const { activeElement, body } = document;
  const before = activeElement === body ? last : activeElement;
  const there = (): Element[] => [...parent.querySelectorAll("[data-focus]:not([hidden] *)")];
  const place = before === null ? -1 : there().indexOf(before);
  parent.replaceChildren(...content.filter((one) => one !== null));
  if (place < 0) return;
  const now = there();
  const same = now.find((one) => one.getAttribute("data-focus") === before?.getAttribute("data-focus"));
  focusOn(same ?? now[Math.min(place, now.length - 1)] ?? parent.closest("[tabindex]"));
}

export function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

/** One decimal, for accuracies that differ little. */
export function finePercent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

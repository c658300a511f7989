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

/** In place of all that was in `parent`; the focus stays on the element with the same `data-focus`, where there is one. */
export function fill(parent: Element, ...content: readonly Content[]): void {
  const before = document.activeElement;
  const key = parent.contains(before) ? before?.getAttribute("data-focus") : null;
  parent.replaceChildren(...content.filter((one) => one !== null));
  if (key) parent.querySelector<HTMLElement>(`[data-focus="${CSS.escape(key)}"]`)?.focus();
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

// Likely classes as bars.

import type { Guess } from "../shared/messages.js";
import { el, percent } from "./dom.js";

export function bars(guesses: readonly Guess[], label: string): HTMLElement {
  const rows = guesses.map(({ name, probability }) =>
    el(
      "li",
      {},
      el("span", { class: "name" }, name),
      el("span", { class: "share" }, percent(probability)),
      bar(probability),
    ),
  );
  return el("ol", { class: "bars", "aria-label": label }, ...rows);
}

/** As long as the share, 0 to 1; the figure beside it is what screen readers say. */
export function bar(share: number, strong = false): HTMLElement {
  const inner = el("i");
  inner.style.setProperty("--value", String(share));
  return el("span", { class: strong ? "bar strong" : "bar", "aria-hidden": "true" }, inner);
}

/** A figure with its name and a bar, as a definition. */
export function figure(name: string, value: string, share: number, strong = false): HTMLElement {
  return el(
    "div",
    {},
    el("p", { class: "small quiet" }, name),
    el("p", { class: "figure" }, value),
    bar(share, strong),
  );
}

// The card around a canvas: a hint where nothing is drawn, what the mentee sees, a line of text, a button to clear it.

import { el } from "./dom.js";
import { pixels } from "./pixels.js";

export class PadCard {
  readonly canvas: HTMLCanvasElement;
  readonly element: HTMLElement;
  private readonly hint: HTMLElement;
  private readonly line = el("p", { class: "small quiet", "data-testid": "pad-line" });
  private readonly seen = el("span", {});
  private readonly button = el(
    "button",
    { type: "button", class: "tiny", disabled: true, "data-testid": "clear" },
    "Clear",
  );

  constructor(hint: string, testId: string) {
    this.canvas = el("canvas", {
      "data-testid": testId,
      role: "img",
      "aria-label": "Drawing area. Drawing needs a finger, a pen or a mouse.",
    });
    this.hint = el("p", { class: "hint", "aria-hidden": "true" }, hint);
    this.element = el(
      "section",
      { class: "card pad", "aria-label": "Drawing" },
      this.canvas,
      this.hint,
      el(
        "div",
        { class: "foot" },
        el("div", { class: "row" }, this.seen, this.line),
        el("div", { class: "row tight" }, this.button),
      ),
    );
  }

  /** Another button under the canvas, beside "Clear". */
  addButton(button: HTMLElement): void {
    this.button.before(button);
  }

  onClear(listener: () => void): void {
    this.button.addEventListener("click", listener);
  }

  setHint(text: string): void {
    this.hint.textContent = text;
  }

  begun(): void {
    this.hint.hidden = true;
    this.button.disabled = false;
    this.say("");
  }

  cleared(): void {
    this.hint.hidden = false;
    this.button.disabled = true;
    this.seen.replaceChildren();
    this.say("");
  }

  see(image: Uint8Array, milliseconds: number): void {
    this.seen.replaceChildren(pixels(image, "What the network sees: 28 by 28 pixels", "seen"));
    this.say(`answered in ${milliseconds < 1 ? "less than 1" : Math.round(milliseconds)} ms`);
  }

  say(text: string): void {
    this.line.textContent = text;
  }
}

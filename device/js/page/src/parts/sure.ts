// A question before something is lost: a line and two buttons, in place. Nothing else waits for the answer.

import { el, fill, focusOn } from "./dom.js";

export class Sure {
  readonly element = el("div", {
    class: "row sure",
    role: "group",
    hidden: true,
    "data-testid": "sure",
    onkeydown: ({ key }: KeyboardEvent) => (key === "Escape" ? this.end(false) : undefined),
  });
  private end: (yes: boolean) => void = () => undefined;

  /** What is answered; no, where another question comes first. */
  ask(text: string, yes: string, no = "Keep it"): Promise<boolean> {
    const opener = document.activeElement;
    this.end(false);
    const button = (label: string, answer: boolean): HTMLElement =>
      el(
        "button",
        {
          type: "button",
          class: answer ? "tiny danger" : "tiny",
          "data-testid": answer ? "sure-yes" : "sure-no",
          "data-focus": label,
          onclick: () => this.end(answer),
        },
        label,
      );
    const keep = button(no, false);
    fill(this.element, el("p", {}, text), button(yes, true), keep);
    this.element.setAttribute("aria-label", text);
    this.element.hidden = false;
    focusOn(keep);
    return new Promise((resolve) => {
      this.end = (answer) => {
        this.end = () => undefined;
        this.element.hidden = true;
        focusOn(opener);
        resolve(answer);
      };
    });
  }
}

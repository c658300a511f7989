// "That was wrong": says what it was, so that it learns.

import { el, fill, focusOn } from "../parts/dom.js";
import { spoken } from "../parts/class-name.js";
import type { RoomClient } from "../site/room.js";

export class Correction {
  readonly element = el("form", { class: "row", "data-testid": "correction", hidden: true });
  private readonly choice = el("select", { "aria-label": "What was it?", "data-testid": "correct-class" });

  constructor(
    private readonly room: RoomClient,
    private readonly opener: HTMLElement,
    private readonly onCorrect: (name: string) => void,
  ) {
    this.element.append(
      el("label", { class: "small" }, "What was it? ", this.choice),
      el("button", { type: "submit", class: "primary", "data-testid": "correct" }, "Correct it"),
      el("button", { type: "button", class: "plain-button", onclick: () => this.close() }, "Cancel"),
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.close();
      this.onCorrect(this.choice.value);
    });
  }

  open(): void {
    const { classes = [], taught = [] } = this.room.overview ?? {};
    const own = taught.map(({ name }) => name);
    const others = classes.filter((name) => !own.includes(name));
    const groups: readonly (readonly [string, readonly string[]])[] = [
      ["Your shapes", own],
      ["Shapes", others.filter((name) => name.length > 1)],
      ["Digits", others.filter((name) => /^[0-9]$/.test(name))],
      ["Letters", others.filter((name) => /^[A-Z]$/.test(name))],
    ];
    fill(
      this.choice,
      ...groups.map(([label, names]) =>
        names.length
          ? el("optgroup", { label }, ...names.map((name) => el("option", { value: name }, spoken(name))))
          : null,
      ),
    );
    this.element.hidden = false;
    this.choice.focus();
  }

  close(): void {
    if (this.element.contains(document.activeElement)) focusOn(this.opener);
    this.element.hidden = true;
  }
}

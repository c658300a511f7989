// How much it obeys your labels, and how much its mentor: one slider over α, β and γ, or each by itself.

import type { Knobs } from "../shared/messages.js";
import { el } from "../parts/dom.js";
import type { RoomClient } from "../site/room.js";

const NAMES: readonly (readonly [keyof Knobs, string, string])[] = [
  ["alpha", "α", "your labels"],
  ["beta", "β", "the mentor’s layers"],
  ["gamma", "γ", "the mentor’s answers"],
];
const MOST = 4;

export class Obedience {
  readonly element: HTMLElement;
  private changed = false;
  private readonly one: HTMLInputElement;
  private readonly each = new Map<
    keyof Knobs,
    { readonly input: HTMLInputElement; readonly output: HTMLOutputElement }
  >();

  constructor(private readonly room: RoomClient) {
    this.one = el("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      value: 0.5,
      "aria-label": "Obedience to the mentor",
      "data-testid": "obedience",
      oninput: () => this.slide(),
    });
    const rows = NAMES.map(([name, letter, what]) => this.row(name, letter, what));
    this.element = el(
      "details",
      { class: "card" },
      el("summary", {}, "Obedience"),
      el(
        "p",
        { class: "quiet small" },
        "Whom it obeys while it learns: you, or the mentor that taught it. α, β and γ weigh the terms of its loss.",
      ),
      this.one,
      el("div", { class: "ends" }, el("span", {}, "You"), el("span", {}, "Its mentor")),
      ...rows,
      el("button", { type: "button", class: "tiny", onclick: () => this.reset() }, "As it came"),
    );
    room.onChange(() => void (this.changed || this.show(this.base())));
  }

  /** null: as the bundle has them. */
  knobs(): Knobs | null {
    if (!this.changed) return null;
    const value = (name: keyof Knobs): number => Number(this.each.get(name)?.input.value ?? 0);
    return { alpha: value("alpha"), beta: value("beta"), gamma: value("gamma") };
  }

  private base(): Knobs {
    return this.room.overview?.knobs ?? { alpha: 1, beta: 0, gamma: 1 };
  }

  private row(name: keyof Knobs, letter: string, what: string): HTMLElement {
    const output = el("output", { class: "quiet", "data-testid": `knob-${name}` });
    const tell = (): void => {
      this.changed = true;
      output.value = Number(input.value).toFixed(2);
    };
    const input = el("input", {
      type: "range",
      min: 0,
      max: MOST,
      step: 0.01,
      value: 0,
      "data-testid": `range-${name}`,
      oninput: tell,
    });
    this.each.set(name, { input, output });
    return el(
      "label",
      { class: "small knob" },
      el("span", { class: "row apart" }, `${letter}: ${what} `, output),
      input,
    );
  }

  /** In the middle as the bundle has them; to one end α falls to 0, to the other β and γ do. */
  private slide(): void {
    const mentor = 2 * Number(this.one.value);
    const { alpha, beta, gamma } = this.base();
    this.changed = true;
    const layers = Math.max(0, mentor - 1); // the bundle's β is 0: from the middle on the layers count as well
    this.show({ alpha: alpha * (2 - mentor), beta: Math.max(beta * mentor, layers), gamma: gamma * mentor });
  }

  private reset(): void {
    this.one.value = "0.5";
    this.changed = false;
    this.show(this.base());
  }

  private show(knobs: Knobs): void {
    for (const [name, { input, output }] of this.each) {
      input.value = String(knobs[name]);
      output.value = knobs[name].toFixed(2);
    }
  }
}

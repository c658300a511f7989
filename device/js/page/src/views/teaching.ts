// Teaching a shape: three to five drawings and a name, in either order.

import type { Drawing } from "../shared/messages.js";
import { EMOJI } from "../shared/emoji.js";
import { EXAMPLES } from "../shared/settings.js";
import { el, fill, plural } from "../parts/dom.js";
import { sketch } from "../parts/sketch.js";

export interface Taught {
  readonly name: string;
  readonly drawings: readonly Drawing[];
}

export interface TeachingEvents {
  readonly onDone: (taught: Taught) => void;
  readonly onCancel: () => void;
}

const LONGEST = 24; // characters of a word of one's own

export class Teaching {
  readonly element = el("section", { class: "card", "data-testid": "teaching", "aria-label": "Teach a shape" });
  private drawings: readonly Drawing[] = [];
  private name = "";
  private fixed = false; // a shape that has its name already
  private readonly head = el("div", {});
  private readonly slots = el("ol", { class: "thumbs five", "data-testid": "slots" });
  private readonly picker = el("div", { class: "emoji", role: "radiogroup", "aria-label": "Its emoji" });
  private readonly word = el("input", {
    type: "text",
    "aria-describedby": "missing",
    placeholder: "or a word",
    "aria-label": "Or a word of your own",
    "data-testid": "word",
    oninput: () => this.pick(this.word.value.trim(), true),
  });
  private readonly naming = el("div", {}, this.picker, this.word);
  private readonly foot = el("div", { class: "row" });

  constructor(private readonly events: TeachingEvents) {
    this.element.append(this.head, this.slots, this.naming, this.foot);
  }

  /** Begins anew; `name`: more drawings of a shape that is there. */
  begin(name = ""): void {
    this.drawings = [];
    this.word.value = "";
    this.fixed = name !== "";
    this.naming.hidden = this.fixed;
    this.pick(name);
  }

  /** Takes one more drawing; whether there is room for another. */
  add(drawing: Drawing): boolean {
    if (!this.full) this.drawings = [...this.drawings, drawing];
    this.show();
    return !this.full;
  }

  get full(): boolean {
    return this.drawings.length >= EXAMPLES.most;
  }

  private get least(): number {
    return this.fixed ? 1 : EXAMPLES.least;
  }

  private pick(name: string, typed = false): void {
    this.name = name;
    if (!typed) this.word.value = "";
    this.show();
  }

  private show(): void {
    const { drawings, name } = this;
    const missing = this.least - drawings.length;
    const title = this.fixed ? `More drawings of ${name}` : "Teach a new shape";
    const text = this.full
      ? "That is enough."
      : missing > 0
        ? `Draw it ${plural(missing, drawings.length ? "more time" : "time")}, each a little differently. A pause ends a drawing.`
        : "Enough to begin with; up to five are better.";
    fill(this.head, el("h2", {}, title), el("p", { class: "quiet", "data-testid": "teaching-text" }, text));
    const empty = Array.from({ length: EXAMPLES.most - drawings.length }, () =>
      el("li", {}, el("span", { class: "slot" })),
    );
    fill(this.slots, ...drawings.map((one, place) => this.slot(one, place)), ...empty);
    this.showPicker();
    const long = [...name].length - LONGEST;
    const ready = missing <= 0 && name !== "" && long <= 0;
    const lacks = missing <= 0 && name === "" ? "Pick an emoji for it, or write a word." : "";
    const said = long > 0 ? `A name has at most ${LONGEST} characters: take ${long} off.` : lacks;
    this.word.setAttribute("aria-invalid", String(long > 0));
    fill(
      this.foot,
      el(
        "button",
        {
          type: "button",
          class: "primary",
          "data-testid": "teach-done",
          "data-focus": "done",
          disabled: !ready,
          onclick: () => this.events.onDone({ name, drawings }),
        },
        "Done",
      ),
      el(
        "button",
        {
          type: "button",
          class: "plain-button",
          "data-testid": "teach-cancel",
          "data-focus": "cancel",
          onclick: this.events.onCancel,
        },
        "Cancel",
      ),
      said ? el("p", { id: "missing", class: "small quiet", "data-testid": "missing" }, said) : null,
    );
  }

  private slot(drawing: Drawing, place: number): HTMLElement {
    const remove = (): void => {
      this.drawings = this.drawings.filter((one) => one !== drawing);
      this.show();
    };
    return el(
      "li",
      {},
      sketch(drawing, `Drawing ${place + 1}`),
      el(
        "button",
        { type: "button", "aria-label": `Remove drawing ${place + 1}`, "data-focus": `slot-${place}`, onclick: remove },
        "×",
      ),
    );
  }

  /** A radio group: one stop of the Tab key, arrows move in it. */
  private showPicker(): void {
    const chosen = EMOJI.findIndex(([emoji]) => emoji === this.name);
    const buttons = EMOJI.map(([emoji, word], place) =>
      el(
        "button",
        {
          type: "button",
          role: "radio",
          "aria-checked": String(place === chosen),
          "aria-label": word,
          tabindex: place === Math.max(0, chosen) ? 0 : -1,
          "data-testid": `emoji-${word.replace(" ", "-")}`,
          "data-focus": `emoji-${place}`,
          onclick: () => this.pick(emoji),
          onkeydown: (event: KeyboardEvent) => this.arrow(event, place),
        },
        emoji,
      ),
    );
    fill(this.picker, ...buttons);
  }

  private arrow(event: KeyboardEvent, place: number): void {
    const by: Readonly<Record<string, number>> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const step = by[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = (place + step + EMOJI.length) % EMOJI.length;
    this.pick(EMOJI[next]?.[0] ?? "");
    this.picker.querySelectorAll("button")[next]?.focus();
  }
}

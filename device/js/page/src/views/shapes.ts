// Shapes: draw one and it says what it is; teach it others; correct it.

import { Asking } from "../parts/asking.js";
import { bars } from "../parts/bars.js";
import { spoken } from "../parts/class-name.js";
import { el, fill, focusOn, percent, plural } from "../parts/dom.js";
import { LearnCard } from "../parts/learn-card.js";
import { ModelCard } from "../parts/model-card.js";
import type { RoomClient } from "../site/room.js";
import { VersionsCard } from "../parts/versions-card.js";
import { Correction } from "./correction.js";
import { ShapesCard } from "./shapes-card.js";
import { Teaching, type Taught } from "./teaching.js";

const NO_ROOM = "There is no room for another shape: remove one first.";
const HINT = "Draw a shape here: a sun, a fish, a letter …";

export class ShapesView {
  readonly element: HTMLElement;
  private readonly asking: Asking;
  private readonly said = el("div", { "data-testid": "answer" });
  private readonly wrong = el("button", { type: "button", class: "tiny", "data-testid": "wrong" }, "That was wrong");
  private readonly start = el(
    "button",
    { type: "button", class: "primary", "data-testid": "teach" },
    "Teach a new shape",
  );
  private readonly keepButton = el(
    "button",
    { type: "button", class: "tiny", hidden: true, "data-testid": "keep" },
    "Keep",
  );
  private readonly correction: Correction;
  private readonly answers: HTMLElement;
  private readonly teaching: Teaching;
  private readonly learning: LearnCard;
  private correcting = false;
  private storing = false; // what was taught: "Done" pressed twice is once

  constructor(private readonly room: RoomClient) {
    this.asking = new Asking(room, HINT, {
      silent: () => this.isTeaching,
      onPause: () => this.paused(),
      onShow: () => this.show(),
    });
    this.asking.card.addButton(this.keepButton);
    this.keepButton.addEventListener("click", () => this.keep());
    this.teaching = new Teaching({
      onDone: (taught) => void this.taught(taught),
      onCancel: () => this.endTeaching(),
    });
    this.teaching.element.hidden = true;
    this.correction = new Correction(room, this.wrong, (name) => void this.correct(name));
    this.wrong.addEventListener("click", () => this.correction.open());
    this.start.addEventListener("click", () => this.beginTeaching());
    this.answers = el(
      "section",
      { class: "card", "aria-label": "What it says" },
      this.said,
      el("div", { class: "row" }, this.start, this.wrong),
      this.correction.element,
    );
    this.learning = new LearnCard(room, WORDS, () => ({ mentor: true, knobs: null, correction: this.correcting }));
    this.element = this.layout();
    this.show();
  }

  private layout(): HTMLElement {
    const { room } = this;
    const shapes = new ShapesCard(room, (name) => this.beginTeaching(name));
    return el(
      "div",
      { "data-testid": "shapes-view" },
      el(
        "div",
        { class: "lead" },
        el("h1", {}, "Teach it your shapes"),
        el(
          "p",
          {},
          "It knows shapes, digits and letters. Show it three to five drawings of one that it does not know: it recognises it at once, and learns it in seconds.",
        ),
      ),
      el(
        "div",
        { class: "columns" },
        el("div", { class: "column stay" }, this.asking.card.element, this.answers, this.teaching.element),
        el(
          "div",
          { class: "column" },
          shapes.element,
          this.learning.element,
          new VersionsCard(room).element,
          new ModelCard(room).element,
        ),
      ),
    );
  }

  private get isTeaching(): boolean {
    return !this.teaching.element.hidden;
  }

  private paused(): void {
    if (this.isTeaching) return this.keep();
    this.asking.pad.finish();
    const [best] = this.asking.answer?.top ?? [];
    if (best !== undefined) this.room.site.say(`${spoken(best.name)}, ${percent(best.probability)}.`);
  }

  private beginTeaching(name = ""): void {
    if (!name && this.room.overview?.room === 0) {
      this.asking.card.say(NO_ROOM);
      return this.room.site.say(NO_ROOM);
    }
    this.asking.clear();
    this.teaching.element.hidden = false;
    this.answers.hidden = true;
    this.keepButton.hidden = false;
    this.teaching.begin(name);
    this.asking.card.setHint(name ? `Draw ${name} here.` : "Draw the new shape here.");
    this.asking.card.element.scrollIntoView({ block: "nearest" });
    this.keepButton.focus({ preventScroll: true }); // the button that was pressed is hidden now
  }

  private endTeaching(): void {
    this.asking.clear();
    this.teaching.element.hidden = true;
    this.answers.hidden = false;
    this.keepButton.hidden = true;
    this.asking.card.setHint(HINT);
    focusOn(this.start);
  }

  /** The drawing on the canvas becomes an example. */
  private keep(): void {
    const drawing = this.asking.drawn("Draw it first.");
    if (drawing === null) return;
    this.asking.clear();
    const more = this.teaching.add(drawing);
    this.room.site.say(more ? "Kept. Draw the next one." : "Kept. Five are enough.");
  }

  private async taught({ name, drawings }: Taught): Promise<void> {
    if (this.storing) return;
    this.storing = true;
    const stored = await this.room.change("teach", { name, drawings });
    this.storing = false;
    if (!stored) return;
    this.endTeaching();
    const text = `It knows ${spoken(name)} by example now.`;
    this.asking.card.say(`${text} Draw one.`);
    this.room.site.say(text);
  }

  private async correct(name: string): Promise<void> {
    const drawing = this.asking.drawn("Draw it first.");
    if (drawing === null || !(await this.room.change("teach", { name, drawings: [drawing] }))) return;
    this.correcting = true;
    await this.learning.learn();
    this.correcting = false;
  }

  private show(): void {
    const { overview, busy } = this.room;
    this.element.dataset["state"] = overview === null ? "loading" : busy ? "busy" : "ready";
    const { answer } = this.asking;
    this.start.disabled = overview === null || busy;
    this.wrong.disabled = answer === null || busy;
    if (answer === null) this.correction.close();
    const text = overview === null ? this.room.loading : "It answers while you draw.";
    const top = answer?.top.map(({ name, probability }) => ({ name: spoken(name), probability })) ?? [];
    fill(this.said, top.length ? bars(top, "What it says") : el("p", { class: "quiet" }, text));
  }
}

const WORDS = {
  title: "Learn for good",
  nothing: "Teach it a shape first.",
  waiting: (count: number) =>
    `${plural(count, "drawing is", "drawings are")} known by example only. Learning makes it surer; its mentor keeps it from forgetting the rest.`,
  done: "All that you taught is learnt.",
  everybody: "Shapes that it came with",
};

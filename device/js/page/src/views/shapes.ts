// Shapes: draw one and it says what it is; teach it others; correct it.

import type { Answer, Drawing, Overview } from "../shared/messages.js";
import { PAUSE_MS } from "../shared/settings.js";
import { bars } from "../parts/bars.js";
import { spoken } from "../parts/class-name.js";
import { el, fill, percent, plural } from "../parts/dom.js";
import { Latest } from "../site/latest.js";
import { LearnCard } from "../parts/learn-card.js";
import { ModelCard } from "../parts/model-card.js";
import { Pad } from "../parts/pad.js";
import { PadCard } from "../parts/pad-card.js";
import type { RoomClient } from "../site/room.js";
import { isDrawn } from "../parts/sketch.js";
import { VersionsCard } from "../parts/versions-card.js";
import { wordsFor } from "../site/words.js";
import { Correction } from "./correction.js";
import { ShapesCard } from "./shapes-card.js";
import { Teaching, type Taught } from "./teaching.js";

const HINT = "Draw a shape here: a sun, a fish, a letter …";

export class ShapesView {
  readonly element: HTMLElement;
  private readonly padCard = new PadCard(HINT, "shapes-canvas");
  private readonly pad: Pad;
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
  private readonly recognise: Latest<Drawing, Answer>;
  private answer: Answer | null = null;
  private asked: Overview | null = null; // as it was when it was asked
  private correcting = false;
  private storing = false; // what was taught: "Done" pressed twice is once

  constructor(private readonly room: RoomClient) {
    this.recognise = new Latest(
      (drawing) => room.site.assistant.ask("shapes", "recognise", { drawing }),
      (answer) => this.heard(answer),
      (error) => this.padCard.say(wordsFor(error).title),
    );
    this.pad = new Pad(
      this.padCard.canvas,
      {
        onBegin: () => this.padCard.begun(),
        onDrawing: (drawing) => (this.isTeaching ? undefined : this.recognise.put(drawing)),
        onPause: () => this.paused(),
      },
      PAUSE_MS,
    );
    this.padCard.onClear(() => this.clear());
    this.padCard.addButton(this.keepButton);
    this.keepButton.addEventListener("click", () => this.keep());
    this.teaching = new Teaching({
      onDone: (taught) => void this.taught(taught),
      onCancel: () => this.endTeaching(),
    });
    this.teaching.element.hidden = true;
    this.correction = new Correction(room, (name) => void this.correct(name));
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
    room.onChange(() => this.changed());
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
        el("div", { class: "column stay" }, this.padCard.element, this.answers, this.teaching.element),
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

  /** Whoever answers another way now is asked again about what is on the canvas. */
  private changed(): void {
    const { overview, busy } = this.room;
    if (!busy && overview !== this.asked) {
      this.asked = overview;
      const { drawing } = this.pad;
      if (this.answer !== null && isDrawn(drawing) && !this.isTeaching) this.recognise.put(drawing);
    }
    this.show();
  }

  private heard(answer: Answer): void {
    this.answer = answer;
    this.padCard.see(answer.image, answer.milliseconds);
    this.show();
  }

  private clear(): void {
    this.recognise.drop();
    this.pad.clear();
    this.padCard.cleared();
    this.correction.close();
    this.answer = null;
    this.show();
  }

  private paused(): void {
    if (this.isTeaching) return this.keep();
    this.pad.finish();
    const [best] = this.answer?.top ?? [];
    if (best !== undefined) this.room.site.say(`${spoken(best.name)}, ${percent(best.probability)}.`);
  }

  private beginTeaching(name = ""): void {
    this.clear();
    this.teaching.element.hidden = false;
    this.answers.hidden = true;
    this.keepButton.hidden = false;
    this.teaching.begin(name);
    this.padCard.setHint(name ? `Draw ${name} here.` : "Draw the new shape here.");
    this.padCard.element.scrollIntoView({ block: "nearest" });
    this.keepButton.focus({ preventScroll: true }); // the button that was pressed is hidden now
  }

  private endTeaching(): void {
    this.clear();
    this.teaching.element.hidden = true;
    this.answers.hidden = false;
    this.keepButton.hidden = true;
    this.padCard.setHint(HINT);
    this.start.focus();
  }

  /** The drawing on the canvas becomes an example. */
  private keep(): void {
    const { drawing } = this.pad;
    if (!isDrawn(drawing))
      return this.padCard.say(this.pad.empty ? "Draw it first." : "That is too small to see. Draw it larger.");
    this.pad.clear();
    this.padCard.cleared();
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
    this.padCard.say(`${text} Draw one.`);
    this.room.site.say(text);
  }

  private async correct(name: string): Promise<void> {
    const { drawing } = this.pad;
    if (!isDrawn(drawing) || !(await this.room.change("teach", { name, drawings: [drawing] }))) return;
    this.correcting = true;
    await this.learning.learn();
    this.correcting = false;
  }

  private show(): void {
    const { overview, busy } = this.room;
    this.element.dataset["state"] = overview === null ? "loading" : busy ? "busy" : "ready";
    this.start.disabled = overview === null || busy || overview.room === 0;
    this.start.title = overview?.room === 0 ? "There is no room for another: remove one first" : "";
    this.wrong.disabled = this.answer === null || busy;
    const text = overview === null ? this.room.loading : "It answers while you draw.";
    const top = this.answer?.top.map(({ name, probability }) => ({ name: spoken(name), probability })) ?? [];
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

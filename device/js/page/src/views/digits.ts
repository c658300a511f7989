// Digits of your hand: the base against yours, on every drawing.

import { Asking } from "../parts/asking.js";
import { bars, figure } from "../parts/bars.js";
import { el, fill, finePercent, percent, plural } from "../parts/dom.js";
import { LearnCard } from "../parts/learn-card.js";
import { ModelCard } from "../parts/model-card.js";
import type { RoomClient } from "../site/room.js";
import { VersionsCard } from "../parts/versions-card.js";
import { Obedience } from "./obedience.js";

export class DigitsView {
  readonly element: HTMLElement;
  private readonly asking: Asking;
  private readonly said = el("div", {});
  private readonly keys = el("div", { class: "keys ten", role: "group", "aria-labelledby": "which" });
  private readonly score = el("section", { class: "card", "data-testid": "score" });
  private mentor = true;
  private readonly obedience: Obedience;

  constructor(private readonly room: RoomClient) {
    this.asking = new Asking(room, "Draw a digit here.", {
      onPause: () => this.paused(),
      onShow: () => this.show(),
    });
    this.obedience = new Obedience(room);
    const learning = new LearnCard(room, WORDS, () => this.choice(), this.mentorSwitch());
    this.element = el(
      "div",
      { "data-testid": "digits-view" },
      el(
        "div",
        { class: "lead" },
        el("h1", {}, "Digits of your hand"),
        el(
          "p",
          {},
          "The base learnt from digits of many hands, none of them yours. Draw, say what it was, and let it learn.",
        ),
      ),
      el(
        "div",
        { class: "columns" },
        el("div", { class: "column stay" }, this.asking.card.element, this.answers()),
        el(
          "div",
          { class: "column" },
          this.score,
          learning.element,
          this.obedience.element,
          new VersionsCard(room).element,
          new ModelCard(room).element,
        ),
      ),
    );
    document.addEventListener("keydown", (event) => this.key(event));
    this.show();
  }

  private answers(): HTMLElement {
    return el(
      "section",
      { class: "card", "data-testid": "answer", "aria-label": "What both say" },
      this.said,
      el(
        "p",
        { id: "which", class: "small quiet" },
        "What was it? Your answer is what it learns from; the keys 0 to 9 do the same.",
      ),
      this.keys,
    );
  }

  private choice(): { mentor: boolean; knobs: ReturnType<Obedience["knobs"]> } {
    return { mentor: this.mentor, knobs: this.obedience.knobs() };
  }

  private paused(): void {
    const { answer, pad } = this.asking;
    pad.finish();
    const [mine, base] = [answer?.top[0]?.name, answer?.base?.[0]?.name];
    if (mine !== undefined) this.room.site.say(`Yours says ${mine}, the base ${base}.`);
  }

  private show(): void {
    this.element.dataset["state"] = this.room.overview === null ? "loading" : this.room.busy ? "busy" : "ready";
    this.showAnswers();
    this.showScore();
  }

  private showAnswers(): void {
    const { room } = this;
    const { answer } = this.asking;
    const names = room.overview?.classes ?? [];
    if (this.keys.childElementCount !== names.length)
      this.keys.replaceChildren(...names.map((name) => this.keyOf(name)));
    for (const key of this.keys.children) key.classList.toggle("guess", key.textContent === answer?.top[0]?.name);
    fill(
      this.said,
      answer === null
        ? el("p", { class: "quiet" }, room.overview === null ? room.loading : "Both answer while you draw.")
        : el(
            "div",
            { class: "pair" },
            el("div", { "data-testid": "mine" }, el("h2", {}, "Yours"), bars(answer.top, "What yours says")),
            el(
              "div",
              { "data-testid": "base" },
              el("h2", {}, "The base"),
              bars(answer.base ?? [], "What the base says"),
            ),
          ),
    );
  }

  private keyOf(name: string): HTMLElement {
    const press = (): void => void this.label(name);
    const having = { type: "button", "data-testid": `digit-${name}`, "aria-label": `It was a ${name}`, onclick: press };
    return el("button", having, name);
  }

  private showScore(): void {
    const { overview } = this.room;
    const { score = null, everybody = null } = overview ?? {};
    const drawn = score?.drawn ?? 0;
    const of = (right: number): string => (drawn ? percent(right / drawn) : "–");
    const share = (right: number | undefined): number => (drawn ? (right ?? 0) / drawn : 0);
    fill(
      this.score,
      el("h2", {}, drawn ? `Right on your last ${plural(drawn, "drawing")}` : "Right on your drawings"),
      el(
        "div",
        { class: "pair" },
        figure("Yours", of(score?.mine ?? 0), share(score?.mine), true),
        figure("The base", of(score?.base ?? 0), share(score?.base)),
      ),
      el("p", { class: "small quiet" }, "Each counts by what was said before it was learnt from."),
      everybody === null
        ? null
        : el(
            "p",
            { class: "small", "data-testid": "everybody" },
            "Everybody else’s digits: yours ",
            el("strong", {}, finePercent(everybody.now)),
            `, the base ${finePercent(everybody.base)}.`,
          ),
    );
  }

  /** Stores what is on the canvas, which is free at once for the next one. */
  private async label(name: string): Promise<void> {
    const { asking, room } = this;
    const { answer, pad } = asking;
    const drawing = room.overview && asking.drawn("Draw a digit first.");
    if (drawing === null) return;
    asking.clear();
    if (!(await room.change("label", { drawing, name }))) return pad.empty ? asking.restore(drawing) : undefined;
    const verdict = (who: readonly { name: string }[] | null): string => (who?.[0]?.name === name ? "right" : "wrong");
    const both = answer === null ? "" : ` Yours was ${verdict(answer.top)}, the base ${verdict(answer.base)}.`;
    room.site.say(`Stored as ${name}.${both}`);
    if (pad.empty) asking.card.say(`Stored as ${name}. Draw the next one.`);
  }

  private key(event: KeyboardEvent): void {
    const typing = event.target instanceof HTMLInputElement && event.target.type === "text";
    if (!this.element.isConnected || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[0-9]$/.test(event.key)) void this.label(event.key);
  }

  private mentorSwitch(): HTMLElement {
    const text = el("p", { class: "small quiet" });
    const button = el(
      "button",
      {
        type: "button",
        class: "switch",
        role: "switch",
        "data-testid": "mentor-switch",
        onclick: () => turn(!this.mentor),
      },
      "Under its mentor",
    );
    const turn = (mentor: boolean): void => {
      this.mentor = mentor;
      button.setAttribute("aria-checked", String(mentor));
      text.textContent = mentor
        ? "Others’ digits are replayed with the mentor’s answers, so that they are not forgotten."
        : "Without it: nothing is replayed, β and γ are 0, and no check refuses the run. See what it forgets; you can undo it.";
    };
    turn(true);
    return el("div", {}, button, text);
  }
}

const WORDS = {
  title: "Learn from your digits",
  nothing: "Draw some digits and say what they are. Ten or more are worth learning from.",
  waiting: (count: number) => `${plural(count, "drawing waits", "drawings wait")} to be learnt.`,
  done: "All your drawings are learnt.",
  everybody: "Everybody else’s digits",
};

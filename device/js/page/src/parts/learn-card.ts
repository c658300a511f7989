// The card that learns: how much waits, a button, progress, what came of it, and a way back.

import type { LearnOptions, Outcome, Overview } from "../shared/messages.js";
import { bar } from "./bars.js";
import { el, fill, finePercent, plural } from "./dom.js";
import type { RoomClient } from "../site/room.js";
import { droppedWords } from "../site/words.js";

export interface LearnWords {
  readonly title: string;
  /** What to do where there is nothing to learn from. */
  readonly nothing: string;
  readonly waiting: (count: number) => string;
  readonly done: string;
  /** Of what everybody else draws. */
  readonly everybody: string;
}

export class LearnCard {
  readonly element = el("section", { class: "card", "data-testid": "learn-card" });
  private outcome: Outcome | null = null;
  private back = 0; // the version before the last run
  private learning = false;
  private readonly progress = el("progress", { max: 1, value: 0, "aria-label": "Learning", "data-testid": "progress" });

  constructor(
    private readonly room: RoomClient,
    private readonly words: LearnWords,
    private readonly choice: () => LearnOptions,
    private readonly extra: HTMLElement | null = null,
  ) {
    room.onChange(() => this.show());
    this.show();
  }

  /** One run; its outcome, null where it was refused. */
  async learn(): Promise<Outcome | null> {
    const { room } = this;
    const before = room.overview?.current ?? 0;
    [this.learning, this.outcome] = [true, null];
    this.progress.value = 0;
    room.site.say("Learning.");
    const outcome = await room.learn(this.choice(), (fraction) => void (this.progress.value = fraction));
    [this.learning, this.outcome, this.back] = [false, outcome, before];
    this.show();
    if (outcome !== null) room.site.say(this.sentence(outcome));
    return outcome;
  }

  private show(): void {
    const { room, words } = this;
    const { overview, busy } = room;
    if (this.outcome !== null && overview !== null && answering(overview) !== answering(this.outcome.overview))
      this.outcome = null; // its way back is another model's, or gone
    const count = overview?.samples.length ?? 0;
    const waiting = overview?.waiting ?? 0;
    const text = !count ? words.nothing : waiting ? words.waiting(waiting) : words.done;
    const button = this.learning
      ? el(
          "button",
          { type: "button", "data-testid": "stop", "data-focus": "learn", onclick: () => room.stop() },
          "Stop",
        )
      : el(
          "button",
          {
            class: "primary",
            type: "button",
            "data-testid": "learn",
            "data-focus": "learn",
            disabled: !count || busy,
            onclick: () => void this.learn(),
          },
          waiting || !count ? "Learn" : "Learn once more",
        );
    fill(
      this.element,
      el("h2", {}, words.title),
      el("p", { class: "quiet", "data-testid": "waiting" }, text),
      this.extra,
      el("div", { class: "row" }, button),
      this.learning ? this.progress : null,
      this.outcome === null || this.learning ? null : this.result(this.outcome),
    );
  }

  private sentence({ status, why, seconds, steps }: Outcome): string {
    if (status === "stopped") return "Stopped. Nothing has changed.";
    if (status === "dropped") return droppedWords(why);
    return `Learnt in ${seconds.toFixed(1)} seconds, ${plural(steps, "step")}.`;
  }

  private result(outcome: Outcome): HTMLElement {
    const { everybody, status } = outcome;
    const undo = async (): Promise<void> => {
      this.outcome = null;
      if (await this.room.change("goBack", { version: this.back })) this.room.site.say("Undone.");
    };
    return el(
      "div",
      { class: "outcome", "data-testid": "outcome", "data-status": status },
      el("p", {}, this.sentence(outcome)),
      everybody === null ? null : fall(this.words.everybody, everybody.before, everybody.after),
      status === "accepted"
        ? el(
            "button",
            {
              class: "tiny",
              type: "button",
              "data-testid": "undo",
              "data-focus": "undo",
              disabled: this.room.busy,
              onclick: () => void undo(),
            },
            "Undo",
          )
        : null,
    );
  }
}

/** The version that answers, with what tells it from one of the same number in another model. */
function answering({ current, versions }: Overview): string {
  return `${current} ${versions.find(({ number }) => number === current)?.time ?? ""}`;
}

/** How accuracy on everybody else's drawings moved. */
function fall(name: string, before: number, after: number): HTMLElement {
  const points = 100 * (after - before);
  const moved =
    Math.abs(points) < 0.05 ? "unchanged" : `${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)} points`;
  return el(
    "div",
    { class: "fall", "data-testid": "fall", "data-points": points.toFixed(2) },
    el("p", { class: "small quiet" }, name),
    el("p", {}, `${finePercent(before)} → `, el("strong", {}, finePercent(after)), ` (${moved})`),
    bar(before),
    bar(after, true),
  );
}

// Versions to go back to, and the log.

import type { VersionLine } from "../shared/messages.js";
import { el, fill, finePercent, plural } from "./dom.js";
import type { RoomClient } from "../site/room.js";

const STATUS: Readonly<Record<string, string>> = {
  accepted: "taken",
  dropped: "not taken",
  unlearned: "unlearnt",
  pruned: "too old to go back to",
  damaged: "damaged",
  candidate: "unfinished",
  superseded: "replaced",
};

export class VersionsCard {
  readonly element = el("details", { class: "card", "data-testid": "versions" });
  private readonly body = el("div", {});

  constructor(private readonly room: RoomClient) {
    this.element.append(el("summary", {}, "Versions and log"), this.body);
    room.onChange(() => this.show());
    this.element.addEventListener("toggle", () => this.show());
  }

  private show(): void {
    const { overview, busy } = this.room;
    if (overview === null || !this.element.open) return;
    const { versions, current, everybody, log } = overview;
    const reset = el(
      "button",
      {
        type: "button",
        class: "tiny",
        "data-testid": "reset",
        "data-focus": "reset",
        disabled: busy || current === 0,
        onclick: () => void this.go(0),
      },
      "Reset to the base",
    );
    const base: VersionLine = {
      number: 0,
      status: "accepted",
      time: "",
      steps: 0,
      everybody: everybody?.base ?? null,
      why: "",
      canReturn: true,
    };
    fill(
      this.body,
      el(
        "p",
        { class: "quiet small" },
        "Each run of learning that was taken is a version. Your drawings stay, whichever answers.",
      ),
      el("ul", { class: "rows" }, ...[...versions, base].map((one) => this.row(one, one.number === current))),
      el("div", { class: "row apart-above" }, reset),
      el("h2", { class: "apart-above" }, "Log"),
      el(
        "ul",
        { class: "rows scroll small", tabindex: 0, "aria-label": "Log", "data-testid": "log" },
        ...log.map(({ time, text }) =>
          el("li", {}, el("span", { class: "what" }, text), el("span", { class: "quiet" }, clockOf(time))),
        ),
      ),
    );
  }

  private row(one: VersionLine, current: boolean): HTMLElement {
    const { number, status, steps, everybody, time, canReturn } = one;
    const name = number === 0 ? "The base" : `Version ${number}`;
    const parts = [
      number ? (STATUS[status] ?? status) : "as it came",
      steps ? plural(steps, "step") : "",
      everybody === null ? "" : `everybody ${finePercent(everybody)}`,
      clockOf(time),
    ];
    const go = el(
      "button",
      {
        class: "tiny",
        type: "button",
        "data-focus": `go-${number}`,
        disabled: this.room.busy,
        "aria-label": `Go back to ${name}`,
        onclick: () => void this.go(number),
      },
      "Go back",
    );
    return el(
      "li",
      { "data-version": number },
      el(
        "div",
        { class: "what" },
        el("p", {}, name),
        el("p", { class: "quiet small" }, parts.filter(Boolean).join(" · ")),
      ),
      current ? el("span", { class: "tag" }, "answers now") : canReturn ? go : null,
    );
  }

  private async go(version: number): Promise<void> {
    if (await this.room.change("goBack", { version }))
      this.room.site.say(version === 0 ? "The base answers now." : `Version ${version} answers now.`);
  }
}

function clockOf(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

// The shapes that were taught: each can get more drawings, or be removed with all that it taught.

import type { TaughtClass } from "../shared/messages.js";
import { spoken } from "../parts/class-name.js";
import { el, fill, plural } from "../parts/dom.js";
import { Sure } from "../parts/sure.js";
import type { RoomClient } from "../site/room.js";

export class ShapesCard {
  readonly element = el("section", { class: "card", "data-testid": "shapes-card" });
  private readonly sure = new Sure();

  constructor(
    private readonly room: RoomClient,
    private readonly onMore: (name: string) => void,
  ) {
    room.onChange(() => this.show());
    this.show();
  }

  private show(): void {
    const { taught = [], room: left = null } = this.room.overview ?? {};
    fill(
      this.element,
      el("h2", {}, "Your shapes"),
      taught.length
        ? el("ul", { class: "rows", "data-testid": "taught" }, ...taught.map((one) => this.row(one)))
        : el("p", { class: "quiet" }, this.room.overview === null ? this.room.loading : "None yet."),
      this.sure.element,
      left === null
        ? null
        : el(
            "p",
            { class: "small quiet" },
            left ? `Room for ${left} more.` : "There is no room for more: remove one first.",
          ),
    );
  }

  private row({ name, drawings, learnt }: TaughtClass): HTMLElement {
    const { busy, site } = this.room;
    const remove = async (): Promise<void> => {
      const text = `${spoken(name)} goes, with ${plural(drawings, "drawing")} and what it taught.`;
      if (!(await this.sure.ask(text, "Remove"))) return;
      if (await this.room.change("removeClass", { name })) site.say(`${spoken(name)} was removed, and what it taught.`);
    };
    return el(
      "li",
      { "data-name": name },
      el(
        "div",
        { class: "what row" },
        el("span", { class: "shape" }, name),
        el("span", { class: "small quiet" }, plural(drawings, "drawing")),
        el("span", { class: learnt ? "tag" : "tag weak", "data-testid": "known" }, learnt ? "learnt" : "by example"),
      ),
      el(
        "div",
        { class: "row tight" },
        el(
          "button",
          {
            type: "button",
            class: "tiny",
            disabled: busy,
            "data-focus": `more-${name}`,
            "aria-label": `More drawings of ${spoken(name)}`,
            onclick: () => this.onMore(name),
          },
          "More",
        ),
        el(
          "button",
          {
            type: "button",
            class: "tiny danger",
            disabled: busy,
            "data-testid": "remove-class",
            "data-focus": `remove-${name}`,
            "aria-label": `Remove ${spoken(name)}`,
            onclick: () => void remove(),
          },
          "Remove",
        ),
      ),
    );
  }
}

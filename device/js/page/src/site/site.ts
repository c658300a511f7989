// What every view needs of the page around it: the worker, a voice for screen readers, a place for what went wrong.

import { Assistant } from "./assistant.js";
import { el } from "../parts/dom.js";
import { wordsFor } from "./words.js";

export interface Help {
  readonly label: string;
  readonly act: () => void;
}

export class Site {
  readonly assistant = new Assistant();
  private readonly live = part("live");
  private readonly notices = part("notices");

  /** Said by screen readers; the same words twice are said twice. */
  say(text: string): void {
    this.live.textContent = this.live.textContent === text ? `${text}\u00a0` : text;
  }

  trouble(error: unknown, ...help: readonly Help[]): void {
    const { title, text, line } = wordsFor(error);
    this.notice(title, text, line, help);
  }

  /** A note at the top until it is closed; the same one is there once. */
  notice(title: string, text: string, line = "", help: readonly Help[] = [], plain = false): void {
    for (const one of this.notices.children) if (one.getAttribute("data-title") === title) one.remove();
    const close = el("button", { class: "plain-button tiny", type: "button", onclick: () => box.remove() }, "Close");
    const buttons = help.map(({ label, act }) => {
      const press = (): void => {
        box.remove();
        act();
      };
      return el("button", { class: "tiny", type: "button", onclick: press }, label);
    });
    const details = line && el("details", { class: "small quiet" }, el("summary", { class: "small" }, "Details"), line);
    const box = el(
      "div",
      { class: plain ? "notice plain" : "notice", "data-title": title, "data-testid": "notice" },
      el(
        "div",
        {},
        el("strong", {}, title),
        text,
        details || null,
        buttons.length ? el("div", { class: "row" }, ...buttons) : null,
      ),
      close,
    );
    this.notices.append(box);
  }

  clearNotices(): void {
    this.notices.replaceChildren();
  }
}

function part(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

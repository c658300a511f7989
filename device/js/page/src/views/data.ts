// Your data: what is stored, each drawing with a button that deletes it and what it taught; delete all; what computes.

import type { SampleLine } from "../shared/messages.js";
import { spoken } from "../parts/class-name.js";
import { el, fill, plural } from "../parts/dom.js";
import { removeOffline } from "../site/offline.js";
import { pixels } from "../parts/pixels.js";
import { Sure } from "../parts/sure.js";
import { provider, setProvider, webGpuThere } from "../site/provider.js";
import type { RoomClient } from "../site/room.js";
import type { Site } from "../site/site.js";

const SHOWN = 100; // drawings of a room at once

export class DataView {
  readonly element: HTMLElement;
  private readonly cards: readonly StoredCard[];

  constructor(
    private readonly site: Site,
    private readonly rooms: readonly RoomClient[],
  ) {
    const titles: Readonly<Record<string, string>> = { shapes: "Shapes", digits: "Digits" };
    this.cards = rooms.map((room) => new StoredCard(room, titles[room.name] ?? room.name));
    this.element = el(
      "div",
      { "data-testid": "data-view", "data-state": "ready" },
      el(
        "div",
        { class: "lead" },
        el("h1", {}, "Your data"),
        el(
          "p",
          {},
          "All of it is in this browser, on this device. Nothing is sent anywhere. You can look at it and delete it here.",
        ),
      ),
      el(
        "div",
        { class: "columns" },
        el("div", { class: "column" }, ...this.cards.map(({ element }) => element)),
        el("div", { class: "column" }, this.deleteCard(), this.computeCard(), about()),
      ),
    );
  }

  /** When it comes into view: opens what is not open. */
  async open(): Promise<void> {
    for (const room of this.rooms) await room.open(provider());
    for (const card of this.cards) await card.show();
  }

  private deleteCard(): HTMLElement {
    const sure = new Sure();
    const text = "Your drawings, all that was learnt, and the page’s files for offline use. This cannot be undone.";
    const press = async (): Promise<void> => {
      if (await sure.ask(text, "Yes, delete it all", "No")) await this.deleteAll();
    };
    const ask = el(
      "button",
      { type: "button", class: "danger", "data-testid": "delete-all", onclick: () => void press() },
      "Delete everything …",
    );
    return el(
      "section",
      { class: "card" },
      el("h2", {}, "Delete"),
      el("p", { class: "quiet" }, "Download your models first if you want them back."),
      ask,
      sure.element,
    );
  }

  private async deleteAll(): Promise<void> {
    for (const room of this.rooms) if (!(await room.wipe())) return;
    setProvider("wasm");
    await removeOffline();
    this.site.say("All was deleted.");
    location.reload();
  }

  private computeCard(): HTMLElement {
    const there = webGpuThere();
    const words = there
      ? "Loads 7 MB more, once. These networks are small: plain WebAssembly is as fast, or faster."
      : "This browser has no WebGPU. Plain WebAssembly is used, and is fast enough.";
    const text = el("p", { class: "small quiet" }, words);
    const on = provider() === "webgpu";
    const button = el(
      "button",
      {
        type: "button",
        class: "switch",
        role: "switch",
        "aria-checked": String(on),
        disabled: !there,
        "data-testid": "webgpu",
      },
      "Compute with WebGPU",
    );
    const turn = async (): Promise<void> => {
      const next = provider() === "webgpu" ? "wasm" : "webgpu";
      setProvider(next);
      button.disabled = true;
      text.textContent = next === "webgpu" ? "Loading WebGPU …" : "Loading …";
      for (const room of this.rooms) await room.reopen(provider()); // WebAssembly again, where the first could not
      button.setAttribute("aria-checked", String(provider() === "webgpu"));
      button.disabled = false;
      text.textContent = words;
    };
    button.addEventListener("click", () => void turn());
    return el("section", { class: "card" }, el("h2", {}, "What computes"), button, text);
  }
}

/** One room's drawings. */
class StoredCard {
  readonly element = el("section", { class: "card" });
  private readonly text = el("p", { class: "quiet" });
  private readonly list = el("ul", { class: "thumbs" });
  private readonly sure = new Sure();
  private shown = ""; // numbers of what is shown

  constructor(
    private readonly room: RoomClient,
    title: string,
  ) {
    this.element.dataset["testid"] = `stored-${room.name}`;
    this.element.append(el("h2", {}, title), this.text, this.list, this.sure.element);
    room.onChange(() => void this.show());
  }

  /** Of what has changed; while the view is not seen, nothing. */
  async show(): Promise<void> {
    const { overview, busy } = this.room;
    if (overview === null) return;
    this.element.setAttribute("aria-busy", String(busy));
    const { samples, versions, bytes } = overview;
    const kept = versions.filter(({ canReturn }) => canReturn).length;
    this.text.textContent =
      samples.length || kept
        ? `${plural(samples.length, "drawing")} and ${plural(kept, "version")}, ${kilobytes(bytes)}.`
        : "Nothing is stored.";
    const last = samples.slice(-SHOWN).reverse();
    const key = last.map(({ number, name }) => `${number} ${name}`).join();
    for (const button of this.list.querySelectorAll("button")) button.disabled = busy;
    if (key === this.shown || !this.element.isConnected || busy) return;
    this.shown = key;
    const images = last.length ? await this.room.ask("images", { numbers: last.map(({ number }) => number) }) : [];
    if (images !== null) fill(this.list, ...last.map((one, place) => this.thumb(one, images[place])));
  }

  private thumb(one: SampleLine, image: Uint8Array | undefined): HTMLElement {
    const remove = async (): Promise<void> => {
      const last = this.room.overview?.taught.some(({ name, drawings }) => name === one.name && drawings === 1);
      if (last && !(await this.sure.ask(`${name} goes with its last drawing.`, "Delete it"))) return;
      if (await this.room.change("forget", { numbers: [one.number] }))
        this.room.site.say("Deleted, and what it taught.");
    };
    const name = spoken(one.name);
    return el(
      "li",
      {},
      el(
        "figure",
        {},
        image === undefined ? null : pixels(image, `A drawing of ${name}`),
        el("figcaption", {}, one.name),
      ),
      el(
        "button",
        {
          type: "button",
          "aria-label": `Delete a drawing of ${name}`,
          "data-focus": `thumb-${one.number}`,
          onclick: () => void remove(),
        },
        "×",
      ),
    );
  }
}

function kilobytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1000))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function about(): HTMLElement {
  return el(
    "section",
    { class: "card" },
    el("h2", {}, "What this is"),
    el(
      "p",
      { class: "quiet" },
      "A large network, the mentor, taught a small one, the mentee, before you came. The mentee is here and learns from you, by the loss that it was taught with:",
    ),
    el("p", { class: "formula" }, "L = α · CE(your labels) + β · Σ RMSE(layers) + γ · T² · KL(mentor ‖ mentee)"),
    el(
      "p",
      { class: "quiet" },
      "Each step mixes your drawings with others that carry the mentor’s answers, so that it does not forget what everybody else draws. A check at the end refuses what would cost too much of that.",
    ),
  );
}

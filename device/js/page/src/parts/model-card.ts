// "My model" as a file: downloaded, and loaded here, on another device, or in the Python program.

import type { RoomName } from "../shared/messages.js";
import { el, fill, plural } from "./dom.js";
import { Refused } from "../site/assistant.js";
import type { RoomClient } from "../site/room.js";
import { Sure } from "./sure.js";

const MOST_BYTES = 200e6;

export class ModelCard {
  readonly element = el("section", { class: "card", "data-testid": "model-card" });
  private readonly sure = new Sure();

  constructor(private readonly room: RoomClient) {
    room.onChange(() => this.show());
    this.show();
  }

  private show(): void {
    const off = this.room.busy || this.room.overview === null;
    const input = el("input", {
      type: "file",
      class: "unseen",
      tabindex: -1,
      "aria-hidden": "true",
      "data-testid": "model-file",
      onchange: () => void this.load(input),
    });
    fill(
      this.element,
      el("h2", {}, "My model"),
      el(
        "p",
        { class: "quiet" },
        "One file with your drawings and all that was learnt from them: for another device, for safekeeping, or for the Python program.",
      ),
      el(
        "div",
        { class: "row" },
        el(
          "button",
          {
            type: "button",
            "data-testid": "save-model",
            "data-focus": "save",
            disabled: off,
            onclick: () => void this.save(),
          },
          "Download",
        ),
        el(
          "button",
          {
            type: "button",
            "data-testid": "load-model",
            "data-focus": "load",
            disabled: off,
            onclick: () => input.click(),
          },
          "Load …",
        ),
        input,
      ),
      this.sure.element,
    );
  }

  private async save(): Promise<void> {
    const file = await this.room.ask("save", null);
    if (file === null) return;
    const url = URL.createObjectURL(new Blob([file as Uint8Array<ArrayBuffer>], { type: "application/octet-stream" }));
    const link = el("a", { href: url, download: fileName(this.room.name) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    this.room.site.say("Your model was downloaded.");
  }

  private async load(input: HTMLInputElement): Promise<void> {
    const file = input.files?.[0];
    input.value = "";
    if (file === undefined) return;
    const content = file.size > MOST_BYTES ? new Uint8Array() : await bytesOf(file);
    if (content === null) return this.room.site.trouble(unreadable(file));
    if (!(await this.mayGo())) return;
    if (await this.room.change("load", { file: content })) this.room.site.say("Your model was loaded.");
  }

  /** Whether what is here may go, of which there may be nothing. */
  private async mayGo(): Promise<boolean> {
    const { samples = [], versions = [] } = this.room.overview ?? {};
    if (!samples.length && !versions.length) return true;
    const here = plural(samples.length, "drawing");
    return this.sure.ask(`The file replaces your ${here} and what was learnt here.`, "Replace", "Keep what is here");
  }
}

/** null where the browser cannot read it: it was deleted or changed since it was chosen, or is a folder. */
async function bytesOf(file: File): Promise<Uint8Array | null> {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    return null;
  }
}

function unreadable({ name }: File): Refused {
  return new Refused({ kind: "file", line: `${name} cannot be read: is it still there? Choose it again` });
}

function fileName(room: RoomName): string {
  return `my-${room}-${new Date().toISOString().slice(0, 10)}.state`;
}

// One room as the page sees it: its overview, whether it is busy, and who wants to know when that changes.

import type { CallName, Calls, LearnOptions, Overview, Provider, Refusal, RoomName } from "../shared/messages.js";
import { ROOMS } from "../shared/settings.js";
import { refocus } from "../parts/dom.js";
import { Refused } from "./assistant.js";
import { setProvider } from "./provider.js";
import type { Site } from "./site.js";
import { wordsFor } from "./words.js";

export class RoomClient {
  overview: Overview | null = null;
  private changes = 0; // that are awaited
  failed = false; // to open
  private opening: Promise<void> | null = null;
  private readonly listeners: (() => void)[] = [];

  constructor(
    readonly name: RoomName,
    readonly site: Site,
  ) {}

  get busy(): boolean {
    return this.changes > 0;
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Opens it where it is not open; what goes wrong is told, and false. */
  async open(provider: Provider): Promise<boolean> {
    this.opening ??= this.opened(provider);
    try {
      await this.opening;
      this.failed = false;
      return true;
    } catch (error) {
      this.opening = null;
      if (provider === "webgpu" && !isKind(error, "busy", "state")) return this.withoutWebGpu(error);
      this.failed = true;
      this.site.trouble(
        error,
        isKind(error, "runtime") // it starts once in a page, or never
          ? { label: "Reload", act: () => location.reload() }
          : { label: "Try again", act: () => void this.open(provider) },
        ...this.wayOut(error, provider),
      );
      this.changed();
      return false;
    }
  }

  /** Closed where it is open, and opened anew. */
  async reopen(provider: Provider): Promise<boolean> {
    this.opening = null;
    return this.open(provider);
  }

  /** Asks the worker; null where it refused, which is told. One at a time but for questions. */
  async ask<Name extends CallName>(
    call: Name,
    given: Calls[Name]["takes"],
    progress: (fraction: number) => void = (fraction) => this.site.working(fraction),
  ): Promise<Calls[Name]["gives"] | null> {
    try {
      return await this.site.assistant.ask(this.name, call, given, progress);
    } catch (error) {
      this.site.trouble(error);
      return null;
    } finally {
      this.site.working(null);
    }
  }

  /** Asks for a change and takes the overview that it ends in; whether it did. */
  async change<Name extends CallName>(
    call: Calls[Name]["gives"] extends Overview ? Name : never,
    given: Calls[Name]["takes"],
    progress?: (fraction: number) => void,
  ): Promise<boolean> {
    this.setBusy(true);
    const gives = (await this.ask(call, given, progress)) as Overview | null;
    if (gives !== null) this.took(gives);
    this.setBusy(false);
    if (gives?.samples.length) void keepStorage();
    return gives !== null;
  }

  async learn(options: LearnOptions, progress: (fraction: number) => void): Promise<Calls["learn"]["gives"] | null> {
    this.setBusy(true);
    const outcome = await this.ask("learn", options, progress);
    if (outcome !== null) this.took(outcome.overview);
    this.setBusy(false);
    return outcome;
  }

  /** Deletes all that is stored of it, and closes it; whether that could be done. */
  async wipe(): Promise<boolean> {
    if (this.busy) this.stop();
    try {
      await this.site.assistant.ask(this.name, "wipe", null);
    } catch (error) {
      this.site.trouble(error);
      return false;
    }
    this.opening = null;
    this.overview = null;
    return true;
  }

  stop(): void {
    this.site.assistant.stop(this.name);
  }

  private async opened(provider: Provider): Promise<void> {
    const bundle = new URL(ROOMS[this.name].bundle, document.baseURI).href;
    const overview = await this.site.assistant.ask(this.name, "open", { bundle, provider });
    this.took(overview);
    performance.mark(`${this.name} ready`);
    this.changed();
    await this.change("measure", null);
    if (!overview.lasting) {
      this.site.notice(
        "This browser does not let the page store anything.",
        "It works all the same, until you close it. Download your model to have it again.",
        overview.why,
        [],
        true,
      );
    }
  }

  private took(overview: Overview): void {
    const before = this.overview?.heldBack ?? "";
    this.overview = overview;
    if (!overview.heldBack || before) return;
    this.site.notice(
      "This browser's space for the page is full.",
      "Nothing new can be kept. What you delete now is back once the page is closed; “Delete everything” deletes for good. Make room on this device.",
      overview.heldBack,
    );
  }

  private wayOut(error: unknown, provider: Provider): readonly { label: string; act: () => void }[] {
    if (!isKind(error, "state")) return [];
    const begin = async (): Promise<void> => {
      await this.ask("wipe", null);
      await this.open(provider);
    };
    return [{ label: "Delete it and begin anew", act: () => void begin() }];
  }

  private withoutWebGpu(error: unknown): Promise<boolean> {
    setProvider("wasm");
    const { line } = wordsFor(error);
    this.site.notice(
      "WebGPU does not work in this browser.",
      "The page computes with WebAssembly instead.",
      line,
      [],
      true,
    );
    return this.open("wasm");
  }

  /** What a view says where there is no overview. */
  get loading(): string {
    return this.failed ? "The network is not there: see the note above." : "Loading the network …";
  }

  private setBusy(busy: boolean): void {
    this.changes += busy ? 1 : -1;
    this.changed();
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
    refocus();
  }
}

function isKind(error: unknown, ...kinds: readonly Refusal["kind"][]): boolean {
  return error instanceof Refused && kinds.includes(error.refusal.kind);
}

/** Asks the browser not to clear what is stored when space is short; it may say no. */
async function keepStorage(): Promise<void> {
  try {
    if (await navigator.storage?.persisted?.()) return;
    await navigator.storage?.persist?.();
  } catch {
    // storage is forbidden
  }
}

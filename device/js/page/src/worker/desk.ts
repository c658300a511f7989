// Answers the page's requests: one function each, on rooms that are open.

import type { Running } from "../../../src/index.js";
import type { CallName, Calls, Overview, Provider, RoomName } from "../shared/messages.js";
import { labelDigit, recogniseDigit } from "./asked/digits.js";
import { learn } from "./asked/learning.js";
import { overviewOf } from "./asked/overview.js";
import { forgetDrawings, recogniseShape, teach } from "./asked/teaching.js";
import { Room, wipeUnopened } from "./room/room.js";

type Call<Name extends CallName> = (given: Calls[Name]["takes"], running: Running) => Promise<Calls[Name]["gives"]>;

/** One room's requests. */
export class Desk {
  private room: Room | null = null;

  constructor(private readonly name: RoomName) {}

  readonly calls: { readonly [Name in CallName]: Call<Name> } = {
    open: async ({ bundle, provider }) => this.opened(bundle, provider),
    measure: async () => this.changed((room) => room.measure()),
    recognise: async ({ drawing }) => (this.name === "digits" ? recogniseDigit : recogniseShape)(this.there, drawing),
    teach: async ({ name, drawings }) => this.changed((room) => teach(room, name, drawings)),
    removeClass: async ({ name }, running) => this.moved((room) => room.owner.removeClass(name, running)),
    label: async ({ drawing, name }) => this.changed((room) => labelDigit(room, drawing, name)),
    learn: async (options, running) => learn(this.there, options, running),
    forget: async ({ numbers }, running) =>
      this.moved((room) =>
        this.name === "shapes" ? forgetDrawings(room, numbers, running) : room.owner.unlearn(numbers, running),
      ),
    goBack: async ({ version }) => this.moved((room) => room.owner.rollBack(version)),
    images: async ({ numbers }) => this.images(numbers),
    save: async () => this.there.owner.exportState(),
    load: async ({ file }) => this.changed((room) => room.load(file)),
    wipe: async () => this.wiped(),
  };

  private get there(): Room {
    if (this.room === null) throw new Error("this part of the page is not open yet");
    return this.room;
  }

  /** Stored samples of these numbers, in their order; one that is gone is left out. */
  private async images(numbers: readonly number[]): Promise<Uint8Array[]> {
    const { owner, place } = this.there;
    const pieces = new Map(owner.samples.map(({ number, piece }) => [number, piece]));
    const found = await Promise.all(numbers.map((number) => place.storage.read(pieces.get(number) ?? "none")));
    return found.filter((one) => one !== undefined);
  }

  private async opened(bundle: string, provider: Provider): Promise<Overview> {
    await this.room?.close();
    this.room = null;
    this.room = await Room.open(this.name, bundle, provider);
    return overviewOf(this.room);
  }

  private async changed(change: (room: Room) => Promise<unknown>): Promise<Overview> {
    await change(this.there);
    return overviewOf(this.there);
  }

  /** Of what deletes, or moves to other parameters: also where the space is full. */
  private async moved(change: (room: Room) => Promise<unknown>): Promise<Overview> {
    await this.there.place.storage.holding(() => change(this.there));
    if (this.there.everybody !== null) await this.there.measure();
    return overviewOf(this.there);
  }

  private async wiped(): Promise<null> {
    if (this.room !== null) await this.room.wipe();
    else await wipeUnopened(this.name);
    this.room = null;
    return null;
  }
}

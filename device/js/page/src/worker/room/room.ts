// One bundle with its owner: opened once, asked in order. What rooms differ in is in shapes.ts and digits.ts.

import { Owner, StateError, fetchBundle, type Bundle, type Knobs as AllKnobs } from "../../../../src/index.js";
import type { Everybody, Provider, RoomName } from "../../shared/messages.js";
import { ROOMS, type RoomSettings } from "../../shared/settings.js";
import { BaseMentee } from "./base.js";
import { runtimeFor, type Loaded } from "./runtime.js";
import { Scores } from "./score.js";
import { emptied, placeOf, type Place } from "./storage.js";
import { FileError } from "../trouble.js";

export class Room {
  readonly settings: RoomSettings;
  everybody: Everybody | null = null;
  private base: BaseMentee | null = null;

  private constructor(
    readonly name: RoomName,
    readonly bundle: Bundle,
    private readonly loaded: Loaded,
    readonly place: Place,
    readonly scores: Scores,
    private scorePlace: Place,
    public owner: Owner,
  ) {
    this.settings = ROOMS[name];
  }

  /** Throws StorageError where another tab has the state, BundleError for a bundle that must not be used. */
  static async open(name: RoomName, url: string, provider: Provider): Promise<Room> {
    const { storage } = ROOMS[name];
    const places = [placeOf(storage), placeOf(`${storage}-score`)] as const;
    try {
      const all = [...places, fetchBundle(url), runtimeFor(provider)] as const; // none waits for another
      const [place, scorePlace, bundle, loaded] = await Promise.all(all);
      const owner = await place.storage.holding(() => ownerOn(bundle, loaded, place));
      return new Room(name, bundle, loaded, place, await Scores.open(scorePlace.storage), scorePlace, owner);
    } catch (error) {
      for (const place of places)
        await place.then(
          (one) => one.close(),
          () => undefined,
        );
      throw error;
    }
  }

  get knobs(): AllKnobs {
    return this.bundle.manifest.knobs;
  }

  async baseMentee(): Promise<BaseMentee> {
    return (this.base ??= await BaseMentee.open(this.bundle, this.loaded));
  }

  /** Asks both mentees for the golden set: a second or less, so not at the start. */
  async measure(): Promise<void> {
    const base = this.everybody?.base ?? (await (await this.baseMentee()).accuracy());
    this.everybody = { base, now: this.owner.current === 0 ? base : await this.owner.learner.evaluateGolden() };
  }

  /** Takes the state of `file` in place of the one that is there, which stays where the file cannot be used. Throws FileError. */
  async load(file: Uint8Array): Promise<void> {
    const { runtime, options } = this.loaded;
    try {
      const owner = await Owner.importState(file, this.bundle, runtime, this.place.storage, {
        ...options,
        replace: true,
      });
      await this.owner.close();
      this.owner = owner;
    } catch (error) {
      throw error instanceof StateError ? new FileError(error.message) : error;
    }
    await this.scores.clear();
    await this.measure();
  }

  async close(): Promise<void> {
    await this.owner.close();
    await this.base?.close();
    this.place.close();
    this.scorePlace.close();
  }

  /** Deletes all that is stored of this room, and ends it. */
  async wipe(): Promise<void> {
    await emptied(this.place);
    await emptied(this.scorePlace);
    await this.close();
  }
}

/** Deletes what is stored of a room that cannot be opened. */
export async function wipeUnopened(name: RoomName): Promise<void> {
  const { storage } = ROOMS[name];
  for (const one of [storage, `${storage}-score`]) {
    const place = await placeOf(one);
    await emptied(place);
    place.close();
  }
}

async function ownerOn(bundle: Bundle, loaded: Loaded, place: Place): Promise<Owner> {
  const owner = await openedOn(bundle, loaded, place);
  if (owner.paused !== null) await owner.discard("the page was closed while it learnt");
  return owner;
}

/** A state of an older bundle, from before the page was updated, becomes one of this. */
async function openedOn(bundle: Bundle, { runtime, options }: Loaded, { storage }: Place): Promise<Owner> {
  try {
    return await Owner.open(bundle, runtime, storage, options);
  } catch (error) {
    if (!(error instanceof StateError) || !error.message.includes("or migrate")) throw error;
    return (await Owner.migrate(bundle, runtime, storage, options)).owner;
  }
}

// What lasts of an owner: one record that names everything, and the pieces that it names.
//
// A change first writes new pieces, then the record, which is the moment that it counts from, then its copy, and at last removes
// pieces that nothing names any more. So a program that dies at any instant finds the state before or after the change. Every
// piece has its sha256 in the record; a record that is damaged gives way to its copy.

import { sha256, utf8, type Bytes } from "../bytes.js";
import { isEncrypted } from "../storage/encrypted.js";
import type { Storage } from "../storage/storage.js";
import { NOTHING_ASKED, only } from "./asked.js";
import { SETTINGS, type Content, type Entry, type Piece } from "./record.js";
import { upgraded } from "./upgrade.js";

const FORMAT = "mentee-owner/2";
const ONLINE = "mentee-owner/3"; // the same with labels by a mentor that was asked online, which a program before does not know
const BEFORE = "mentee-owner/1";
const RECORD = "state";
const COPY = "state.copy";
const MOST_LOG = 1000; // lines

type Changes = Partial<Omit<Content, "change">>;

/** A state that cannot be used; one line. */
export class StateError extends Error {
  override readonly name = "StateError";
}

export class State {
  /** The number that a run will have which reads what it learns on: an answer of the mentor that comes now is for the next one. */
  beginning: number | null = null;
  private changing: Promise<void> = Promise.resolve();
  private closed = false;
  private readonly coming = new Set<string>(); // pieces that no change has named yet

  private constructor(
    private readonly storage: Storage,
    private content: Content,
  ) {}

  /** The state of `bundle` in `storage`, made where there is none; null: of whatever bundle it is for. Throws StateError for another
   * bundle's, where both records are damaged, and where there is none for null. */
  static async open(storage: Storage, bundle: string | null): Promise<State> {
    requireStorage(storage);
    const found = await Promise.all([RECORD, COPY].map((name) => recordIn(storage, name)));
    const sound = found.filter((one) => typeof one === "object").sort((one, other) => other.change - one.change)[0];
    if (sound === undefined && found.some((one) => one === "damaged")) {
      throw new StateError(
        "the state and its copy are damaged: restore them from a backup, or begin anew with empty storage",
      );
    }
    if (sound === undefined && bundle === null)
      throw new StateError("the storage holds no state: there is nothing to use");
    if (sound !== undefined && bundle !== null && sound.bundle !== bundle) {
      throw new StateError(
        `the state is of bundle ${sound.bundle.slice(0, 12)}…, this is ${bundle.slice(0, 12)}…: open that one, or migrate`,
      );
    }
    const state = new State(storage, sound ?? fresh(bundle ?? ""));
    const copy = found[1];
    if (found[0] === "damaged") await state.change({}, "mended", "the record was damaged: its copy took its place");
    else if (sound !== undefined && (typeof copy !== "object" || copy.change < sound.change)) {
      await storage.write(COPY, await written(sound)); // the program ended between the two
    }
    await state.sweep();
    return state;
  }

  /** The state of `content`, in place of all that `storage` holds: until the record is written, that is there as it was. `put`
   * stores the pieces that it names. */
  static async replace(
    storage: Storage,
    bundle: string,
    content: (put: State["put"]) => Promise<Omit<Content, "bundle" | "change">>,
  ): Promise<State> {
    const found = await Promise.all([RECORD, COPY].map((name) => recordIn(storage, name)));
    const changes = found.map((one) => (typeof one === "object" ? one.change : 0));
    const state = new State(storage, { ...fresh(bundle), change: Math.max(...changes) + 1 });
    const made = await content((name, bytes) => state.put(name, bytes));
    state.content = { ...state.content, ...made };
    await state.change({}, "");
    return state;
  }

  /** What `storage` holds of a state, in words; null where it is empty. */
  static async held(storage: Storage): Promise<string | null> {
    requireStorage(storage);
    const found = await Promise.all([RECORD, COPY].map((name) => recordIn(storage, name)));
    const sound = found.find((one) => typeof one === "object");
    if (sound === undefined) return found.includes("damaged") ? "a damaged state" : null;
    const { samples, versions } = sound;
    return `${samples.length} samples and ${versions.length} versions`;
  }

  get now(): Content {
    return this.content;
  }

  /** Waits for the changes that have begun; later ones are refused, as of a mentor that answers late: the storage may be another
   * Owner's by then, and what that one wrote would be lost. */
  async close(): Promise<void> {
    this.closed = true;
    await this.changing;
  }

  /** Stores `content` under a name that nothing had; it counts once a `change` names it. */
  async put(name: string, content: Bytes): Promise<Piece> {
    this.requireOpen();
    const piece = `${name}.${this.content.change}`;
    this.coming.add(piece);
    try {
      await this.storage.write(piece, content);
    } catch (error) {
      this.coming.delete(piece);
      throw error;
    }
    return { piece, sha256: await sha256(content), bytes: content.length };
  }

  /** null where it is gone or was altered. */
  async get({ piece, sha256: expected }: Piece): Promise<Bytes | null> {
    const content = await this.storage.read(piece);
    return content !== undefined && (await sha256(content)) === expected ? content : null;
  }

  /** One change, all or nothing, with a line in the log where there is a `text`. One after the other: as a function it is asked
   * what to change once those before are done, so that it may come while a run goes on. Throws StateError once it was closed. */
  async change(changes: Changes | ((now: Content) => Changes), kind: string, text = ""): Promise<void> {
    this.requireOpen();
    const done = this.changing.then(() => this.changed(changes, kind, text));
    this.changing = done.catch(() => undefined);
    return done;
  }

  private requireOpen(): void {
    if (this.closed) throw new StateError("the owner was closed, and nothing was changed: open it again");
  }

  private async changed(given: Changes | ((now: Content) => Changes), kind: string, text: string): Promise<void> {
    const changes = typeof given === "function" ? given(this.content) : given;
    const { change } = this.content;
    const log = changes.log ?? this.content.log;
    const entries: Entry[] = text ? [{ time: clock(), kind, text }] : [];
    const whole = { ...this.content, ...changes, change: change + 1, log: [...log, ...entries].slice(-MOST_LOG) };
    const content = withoutLost(whole);
    const record = await written(content);
    for (const name of piecesOf(whole)) this.coming.delete(name); // done, or failed and of no use
    await this.storage.write(RECORD, record);
    this.content = content;
    await this.storage.write(COPY, record);
    await this.sweep();
  }

  /** Removes what nothing names; what was put since the last change may yet be named. */
  private async sweep(): Promise<void> {
    const named = new Set([RECORD, COPY, ...piecesOf(this.content)]);
    for (const name of await this.storage.names()) {
      if (!named.has(name) && !this.coming.has(name)) await this.storage.delete(name);
    }
  }
}

/** Names of all pieces. */
function piecesOf({ samples, aside, versions, enrolled, watch, base, answers }: Content): string[] {
  const snapshots = versions.map(({ snapshot }) => snapshot);
  const logits = [...samples, ...aside].map(({ mentorLogits }) => mentorLogits);
  const single = [base?.parameters ?? null, watch?.stored ?? null];
  const pieces = [...samples, ...aside, ...enrolled, ...answers, ...snapshots, ...logits, ...single];
  return pieces.flatMap((piece) => (piece === null ? [] : [piece.piece]));
}

/** An answer goes with its sample, and so does the wait for one. */
function withoutLost(content: Content): Content {
  const { samples, aside, answers, asked } = content;
  const there = new Set(samples.map(({ number }) => number));
  const stored = new Set([...there, ...aside.map(({ number }) => number)]);
  return { ...content, answers: answers.filter(({ number }) => there.has(number)), asked: only(asked, there, stored) };
}

function fresh(bundle: string): Content {
  const next = { sample: 1, version: 1, enrolled: 1 };
  const none = {
    base: null,
    names: {},
    lostNames: [],
    samples: [],
    aside: [],
    versions: [],
    enrolled: [],
    answers: [],
    asked: NOTHING_ASKED,
    watch: null,
    log: [],
  };
  return { ...none, bundle, change: 0, current: 0, next, settings: SETTINGS };
}

/** UTC, to the second. */
export function clock(): string {
  return timeOf(Date.now() / 1000);
}

/** `seconds` since 1970. */
export function timeOf(seconds: number): string {
  return new Date(1000 * seconds).toISOString().replace(/\.\d+Z$/, "Z");
}

async function written(content: Content): Promise<Bytes> {
  const online = [...content.samples, ...content.aside].some(({ source }) => source === "mentor-online");
  const text = JSON.stringify({ format: online ? ONLINE : FORMAT, ...content });
  return new TextEncoder().encode(`${await sha256(new TextEncoder().encode(text))}\n${text}`);
}

async function recordIn(storage: Storage, name: string): Promise<Content | "damaged" | "none"> {
  const record = await storage.read(name);
  if (record === undefined) return "none";
  if (isEncrypted(record))
    throw new StateError("the state is encrypted: open its storage with its key, EncryptedStorage.open(storage, key)");
  try {
    const text = utf8(record);
    const end = text.indexOf("\n");
    if ((await sha256(new TextEncoder().encode(text.slice(end + 1)))) !== text.slice(0, end)) return "damaged";
    const { format, ...content } = JSON.parse(text.slice(end + 1)) as Content & { format: string };
    if (format === BEFORE) return upgraded(content);
    if (format !== FORMAT && format !== ONLINE)
      throw new StateError(`the state has format ${format}, this program reads ${FORMAT} and ${ONLINE}: update it`);
    const { settings, names = {}, lostNames = [], answers = [], asked = NOTHING_ASKED } = content; // a program before knew none
    return { ...content, names, lostNames, answers, asked, settings: { ...SETTINGS, ...settings } };
  } catch (error) {
    if (error instanceof TypeError || error instanceof SyntaxError) return "damaged";
    throw error;
  }
}

/** Throws StateError for what is no Storage, a path for instance. */
function requireStorage(storage: Storage): void {
  if (typeof storage?.read === "function" && typeof storage.write === "function") return;
  throw new StateError(
    "that is no storage: give await IndexedDbStorage.open(), or in Node await FolderStorage.open(folder)",
  );
}

// Storage in a browser's IndexedDB: one transaction a write, which is done when the browser says that it lies on the disk.
//
// One tab or worker at a time: a Web Lock is held while a storage is open, and goes with the tab that has it, however that ends.

import type { Bytes } from "../bytes.js";
import { StorageError, checkName, type Storage } from "./storage.js";

const STORE = "content";
const PATIENCE_MS = 1000; // for a page that is being left, as by a reload

export class IndexedDbStorage implements Storage {
  private constructor(
    private readonly database: IDBDatabase,
    private readonly release: () => void,
  ) {
    database.onversionchange = () => this.close(); // somebody deletes it
    database.onclose = () => this.release(); // somebody has, with all of the site's data
  }

  /** `name` of a database of this origin. Throws StorageError where there is none to be had, as in some private windows and
   * sandboxed frames, and where another tab or worker has it open. */
  static async open(
    name = "mentee-device",
    factory: IDBFactory | undefined = found(),
    locks: LockManager | undefined = factory === found() ? globalThis.navigator?.locks : undefined,
  ): Promise<IndexedDbStorage> {
    if (factory === undefined) throw new StorageError("there is no IndexedDB here: give another storage");
    const release = await locked(name, locks);
    try {
      return new IndexedDbStorage(await opened(name, factory), release);
    } catch (error) {
      release();
      throw error;
    }
  }

  async read(name: string): Promise<Bytes | undefined> {
    checkName(name);
    const content: unknown = await this.done("readonly", (store) => store.get(name));
    if (content === undefined || content instanceof Uint8Array) return content as Bytes | undefined;
    throw new StorageError(`${name} in IndexedDB is not what this program wrote`);
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    checkName(name);
    await this.done("readwrite", (store) => store.put(Uint8Array.from(content), name)); // alone: a view takes its whole buffer along
  }

  async names(): Promise<string[]> {
    return (await this.done("readonly", (store) => store.getAllKeys())).map(String).sort();
  }

  async delete(name: string): Promise<void> {
    checkName(name);
    await this.done("readwrite", (store) => store.delete(name));
  }

  /** And lets another tab have it. */
  close(): void {
    this.database.close();
    this.release();
  }

  /** What `ask` answers, once its transaction has ended. */
  private done<T>(mode: IDBTransactionMode, ask: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const what = mode === "readonly" ? "read" : "written";
    return new Promise((resolve, reject) => {
      try {
        const transaction = this.database.transaction(STORE, mode, { durability: "strict" });
        const request = ask(transaction.objectStore(STORE));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(failure(what, transaction.error ?? request.error));
      } catch (error) {
        reject(failure(what, error)); // the database was closed
      }
    });
  }
}

/** Some browsers have none, and some throw where a site must not store. */
function found(): IDBFactory | undefined {
  try {
    return globalThis.indexedDB ?? undefined;
  } catch {
    return undefined;
  }
}

function opened(name: string, factory: IDBFactory): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    try {
      const request = factory.open(name, 1);
      request.onupgradeneeded = () => void request.result.createObjectStore(STORE);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(failure("opened", request.error));
      request.onblocked = () => reject(failure("opened", null));
    } catch (error) {
      reject(failure("opened", error));
    }
  });
}

/** What ends the hold on `name`; without Web Locks nothing is held. Throws StorageError where another has it. */
async function locked(name: string, locks: LockManager | undefined): Promise<() => void> {
  if (locks === undefined) return () => undefined;
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const held = (): Promise<void> => new Promise((release) => resolve(release));
    locks.request(`mentee-device storage ${name}`, { signal }, held).catch((error: unknown) => {
      reject(
        signal.aborted
          ? new StorageError(
              `the storage ${JSON.stringify(name)} is open in another tab or worker of this site: close that one, or open ` +
                "a storage of another name",
            )
          : failure("opened", error),
      );
    });
  });
}

function failure(what: string, error: unknown): StorageError {
  const { name, message } = error instanceof Error ? error : { name: "", message: "aborted, or in use elsewhere" };
  const why = `${name}${name && message ? ": " : ""}${message}`;
  const help: Record<string, string> = {
    QuotaExceededError: "the site's space in this browser is full, and what was stored is as before: free some of it",
    SecurityError: "this page must not store, as in a sandboxed frame or with site data blocked: give another storage",
    InvalidStateError: "it was closed, or its data were deleted: open it again",
  };
  return new StorageError(`IndexedDB cannot be ${what} (${why}): ${help[name] ?? "is there space left?"}`);
}

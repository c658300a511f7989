// Storage in a browser's IndexedDB: one transaction a write, which is done when the browser says that it lies on the disk.

import type { Bytes } from "../bytes.js";
import { StorageError, checkName, type Storage } from "./storage.js";

const STORE = "content";

export class IndexedDbStorage implements Storage {
  private constructor(private readonly database: IDBDatabase) {
    database.onversionchange = () => database.close(); // somebody deletes it
  }

  /** `name` of a database of this origin. Throws StorageError where there is none to be had, as in some private windows. */
  static async open(
    name = "mentee-device",
    factory: IDBFactory | undefined = globalThis.indexedDB,
  ): Promise<IndexedDbStorage> {
    if (factory === undefined) throw new StorageError("there is no IndexedDB here: give another storage");
    const request = factory.open(name, 1);
    request.onupgradeneeded = () => void request.result.createObjectStore(STORE);
    const database = await new Promise<IDBDatabase>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(failure("opened", request.error));
      request.onblocked = () => reject(failure("opened", null));
    });
    return new IndexedDbStorage(database);
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

  close(): void {
    this.database.close();
  }

  /** What `ask` answers, once its transaction has ended. */
  private done<T>(mode: IDBTransactionMode, ask: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction(STORE, mode, { durability: "strict" });
      const request = ask(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(failure(mode === "readonly" ? "read" : "written", transaction.error));
    });
  }
}

function failure(what: string, error: DOMException | null): StorageError {
  const why = error === null ? "aborted, or in use elsewhere" : `${error.name}: ${error.message}`;
  return new StorageError(`IndexedDB cannot be ${what} (${why}): is there space left?`);
}

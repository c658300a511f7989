// A storage whose content is encrypted: AES-256-GCM by WebCrypto, each piece bound to its name. Names, sizes and times stay in
// the clear.
//
// A piece is MARK, a nonce of 12 bytes, and the ciphertext with its tag of 16. A key of bytes is not used as it is: the cipher's
// is HMAC-SHA-256 of "mentee-storage/1" under it.

import { joined, type Bytes } from "../bytes.js";
import { StorageError, type Storage } from "./storage.js";

const FORMAT = "mentee-storage/1";
const MARK = new TextEncoder().encode(`${FORMAT}\n`);
const NONCE_BYTES = 12;
const KEY_BYTES = 32;

/** 32 random bytes, or a CryptoKey of AES-GCM for encrypt and decrypt, which need not be extractable. */
export type StorageKey = Uint8Array | CryptoKey;

/** Whether `content` is of an `EncryptedStorage`. */
export function isEncrypted(content: Uint8Array): boolean {
  return MARK.every((byte, place) => content[place] === byte);
}

export class EncryptedStorage implements Storage {
  private constructor(
    private readonly storage: Storage,
    private readonly key: CryptoKey,
  ) {}

  /** `storage` is empty, or was written under `key`. Throws StorageError where it was written under another one or without;
   * nothing is changed then. */
  static async open(storage: Storage, key: StorageKey): Promise<EncryptedStorage> {
    const opened = new EncryptedStorage(storage, await cipherKey(key));
    const names = await storage.names();
    let encrypted = false;
    for (const name of names) {
      const content = await storage.read(name);
      if (content === undefined) continue;
      if ((await opened.decrypted(name, content)) !== null) return opened; // what else is damaged, its reader finds
      encrypted ||= isEncrypted(content);
    }
    if (!names.length) return opened;
    throw new StorageError(
      encrypted
        ? "the storage is encrypted under another key, or all of it is damaged: give the key it was made with; nothing was changed"
        : "the storage holds a state that is not encrypted: export it, import it into an encrypted storage, then delete it here; " +
            "nothing was changed",
    );
  }

  /** What is damaged reads as nothing at all, which no reader takes for whole. */
  async read(name: string): Promise<Bytes | undefined> {
    const content = await this.storage.read(name);
    return content === undefined ? undefined : ((await this.decrypted(name, content)) ?? new Uint8Array());
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const sealed = await crypto.subtle.encrypt(cipher(nonce, name), this.key, Uint8Array.from(content));
    await this.storage.write(name, joined([MARK, nonce, new Uint8Array(sealed)]));
  }

  async names(): Promise<string[]> {
    return this.storage.names();
  }

  async delete(name: string): Promise<void> {
    await this.storage.delete(name);
  }

  private async decrypted(name: string, content: Bytes): Promise<Bytes | null> {
    if (!isEncrypted(content)) return null;
    const start = MARK.length + NONCE_BYTES;
    try {
      const opened = await crypto.subtle.decrypt(
        cipher(content.slice(MARK.length, start), name),
        this.key,
        content.slice(start),
      );
      return new Uint8Array(opened);
    } catch (error) {
      if (error instanceof Error && error.name === "OperationError") return null;
      throw error;
    }
  }
}

function cipher(iv: Bytes, name: string): AesGcmParams {
  return { name: "AES-GCM", iv, additionalData: new TextEncoder().encode(name) };
}

async function cipherKey(key: StorageKey): Promise<CryptoKey> {
  if (!(key instanceof Uint8Array)) {
    const both = ["encrypt", "decrypt"] as const;
    if (key?.algorithm?.name === "AES-GCM" && both.every((usage) => key.usages.includes(usage))) return key;
    throw new StorageError("the key is neither 32 bytes nor a CryptoKey of AES-GCM to encrypt and decrypt");
  }
  if (key.length !== KEY_BYTES)
    throw new StorageError(`the key has ${key.length} bytes, expected ${KEY_BYTES} random ones`);
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const owner = await crypto.subtle.importKey("raw", Uint8Array.from(key), hmac, false, ["sign"]);
  const derived = await crypto.subtle.sign("HMAC", owner, new TextEncoder().encode(FORMAT));
  return crypto.subtle.importKey("raw", derived, "AES-GCM", false, ["encrypt", "decrypt"]);
}

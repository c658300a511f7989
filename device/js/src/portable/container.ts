// The bytes of an exported state: one line of JSON, then a record and its parts, encrypted as a whole where there is a key.
//
// docs/device-state.md is the contract; the Python program reads and writes the same (relocate/portable/container.py).

import { joined, sha256, utf8, type Bytes } from "../bytes.js";
import { NotJson, parseJson, type Json, type JsonObject } from "../json.js";
import { StateError } from "../owner/state.js";
import { Misfit, keys, listOf, matching, objectAt, oneOf, whole } from "./checks.js";

export const FORMAT = "mentee-state/2";
const FAMILY = "mentee-state/";
const LONGEST_HEAD = 4096;
const MOST_BYTES = 2 ** 30; // of a body: it is held in memory
const MOST_RECORD = 2 ** 26;
const MOST_PARTS = 100_000;
const LENGTH = 8; // bytes before the record that say how long it is
const NONCE_BYTES = 12;
const KEY_BYTES = 32;

const HEX = matching(/[0-9a-f]{64}/, "64 hex digits");
const HEAD = keys({
  format: oneOf(FORMAT),
  bundle: HEX,
  encrypted: oneOf(true, false),
  bytes: whole(0, MOST_BYTES),
  sha256: HEX,
});
const PARTS = listOf(keys({ bytes: whole(0, MOST_BYTES), sha256: HEX }), MOST_PARTS);

/** `record` as record.ts has it, without its `parts`, whose bytes are here. */
export interface FileContent {
  readonly record: JsonObject;
  readonly parts: readonly Bytes[];
}

/** The whole file. `record` is what JSON has of it. Throws StateError where it would be too large. */
export async function packed(
  record: Readonly<Record<string, unknown>>,
  parts: readonly Bytes[],
  bundle: string,
  key: Uint8Array | null,
): Promise<Bytes> {
  const table = await Promise.all(parts.map(async (part) => ({ bytes: part.length, sha256: await sha256(part) })));
  const text = encoded(JSON.stringify({ ...record, parts: table }));
  const length = new Uint8Array(LENGTH);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  let body = joined([length, text, ...parts]);
  if (key !== null) {
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const sealed = await crypto.subtle.encrypt(cipher(nonce, bundle), await keyOf(key, "encrypt"), body);
    body = joined([nonce, new Uint8Array(sealed)]);
  }
  if (body.length > MOST_BYTES || text.length > MOST_RECORD || parts.length > MOST_PARTS) {
    throw new StateError(
      `the state makes a file of ${body.length} bytes, at most ${MOST_BYTES} can be read back: unlearn some samples, or lower ` +
        "mostVersions",
    );
  }
  const head = { format: FORMAT, bundle, encrypted: key !== null, bytes: body.length, sha256: await sha256(body) };
  return joined([encoded(`${JSON.stringify(head)}\n`), body]);
}

/** Throws StateError for what is not whole, of another format or bundle, or under another key. */
export async function unpacked(file: Uint8Array, bundle: string, key: Uint8Array | null): Promise<FileContent> {
  const end = file.subarray(0, LONGEST_HEAD).indexOf("\n".charCodeAt(0));
  const head = end < 0 ? null : jsonIn(file.subarray(0, end));
  const format = head instanceof Map ? head.get("format") : undefined;
  if (!(head instanceof Map) || typeof format !== "string" || !format.startsWith(FAMILY)) {
    throw new StateError("this is no exported state: expected a file of exportState, or of the Python program");
  }
  if (format === `${FAMILY}1`) {
    throw new StateError(`the file has format ${format}, which the Python program alone reads: export it there again`);
  }
  if (format !== FORMAT) {
    const shown = format.slice(0, 40);
    throw new StateError(`the file has format ${shown}, this program reads ${FORMAT}: update the program`);
  }
  if (head.get("bundle") !== bundle) {
    throw new StateError(
      `the file belongs to bundle ${String(head.get("bundle")).slice(0, 12)}…, this one is ${bundle.slice(0, 12)}…: bring both ` +
        "devices to one bundle with `migrate`, then export again",
    );
  }
  try {
    HEAD(head, "");
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    throw new StateError(`the file is damaged in its first line (${error.message}): export it again`);
  }
  let body = Uint8Array.from(file.subarray(end + 1));
  if (BigInt(body.length) !== head.get("bytes") || (await sha256(body)) !== head.get("sha256")) {
    throw new StateError("the file is cut off or was altered (its sha256 does not match): export it again");
  }
  if (head.get("encrypted") === true) body = await decrypted(body, bundle, key);
  try {
    return await partsOf(body);
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    throw new StateError(`the file was not made by a program of this format (${error.message.slice(0, 200)}): refused`);
  }
}

async function partsOf(body: Bytes): Promise<FileContent> {
  const length =
    body.length < LENGTH ? body.length : Number(new DataView(body.buffer, 0, LENGTH).getBigUint64(0, true));
  if (body.length < LENGTH || length > Math.min(MOST_RECORD, body.length - LENGTH)) {
    throw new Misfit(`a record of ${length} bytes in ${body.length}`);
  }
  let at = LENGTH + length;
  const all = objectAt(jsonIn(body.subarray(LENGTH, at)) ?? undefined, "record");
  const table = all.get("parts");
  if (table === undefined) throw new Misfit("a record without parts");
  PARTS(table, "parts");
  const parts: Bytes[] = [];
  for (const [place, part] of (table as JsonObject[]).entries()) {
    const bytes = body.slice(at, at + Number(part.get("bytes")));
    at += Number(part.get("bytes"));
    if (at > body.length) throw new Misfit("parts of other sizes than it says");
    if ((await sha256(bytes)) !== part.get("sha256")) throw new Misfit(`part ${place} has another sha256`);
    parts.push(bytes);
  }
  if (at !== body.length) throw new Misfit("parts of other sizes than it says");
  const record = new Map(all);
  record.delete("parts");
  return { record, parts };
}

function jsonIn(bytes: Uint8Array): Json {
  try {
    return parseJson(utf8(bytes));
  } catch (error) {
    if (error instanceof NotJson || error instanceof TypeError) return null;
    throw error;
  }
}

async function decrypted(body: Bytes, bundle: string, key: Uint8Array | null): Promise<Bytes> {
  if (key === null) throw new StateError("the file is encrypted: its key is needed");
  const nonce = body.slice(0, NONCE_BYTES);
  try {
    const opened = await crypto.subtle.decrypt(
      cipher(nonce, bundle),
      await keyOf(key, "decrypt"),
      body.slice(NONCE_BYTES),
    );
    return new Uint8Array(opened);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    throw new StateError("the file is encrypted under another key: give the one it was exported with");
  }
}

function cipher(iv: Bytes, bundle: string): AesGcmParams {
  return { name: "AES-GCM", iv, additionalData: encoded(bundle) };
}

/** A key of the file's own: that of Python's state seals its rows otherwise. */
async function keyOf(key: Uint8Array, use: "encrypt" | "decrypt"): Promise<CryptoKey> {
  if (key.length !== KEY_BYTES)
    throw new StateError(`the key has ${key.length} bytes, expected ${KEY_BYTES} random ones`);
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const owner = await crypto.subtle.importKey("raw", Uint8Array.from(key), hmac, false, ["sign"]);
  const derived = await crypto.subtle.sign("HMAC", owner, encoded(FORMAT));
  return crypto.subtle.importKey("raw", derived, "AES-GCM", false, [use]);
}

function encoded(text: string): Bytes {
  return new TextEncoder().encode(text) as Bytes;
}

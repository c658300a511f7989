// A bundle's zip, unpacked into memory: entries that are stored or deflated, as an export writes them.
//
// Whatever could write or grow elsewhere is refused before anything is unpacked. The central directory at the end is what counts
// (APPNOTE.TXT 6.3); what a local header says must not differ in what is used.

import { joined, utf8, type Bytes } from "../../bytes.js";
import { crc32 } from "./crc32.js";
import { BundleError, shown } from "../errors.js";
import { MANIFEST, SIGNATURE, checkPath } from "../paths.js";

export const MAX_BYTES = 2 ** 30; // of one bundle, unpacked: what a zip may ask of a phone's storage
const MAX_FILES = 1000;

const END = 0x06054b50; // signatures
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_LENGTH = 22; // bytes, without what follows at a variable length
const CENTRAL_LENGTH = 46;
const LOCAL_LENGTH = 30;
const LONGEST_COMMENT = 0xffff;
const ENCRYPTED = 0x1;
const UNKNOWN_FLAGS = 0x20 | 0x40; // patches; strong encryption
const UTF8_FLAG = 0x800;
const STORED = 0;
const DEFLATED = 8;
const ZIP64 = 0xffffffff;

interface Entry {
  readonly name: string;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly packed: number; // bytes
  readonly bytes: number; // unpacked
  readonly attributes: number;
  readonly start: number; // of its local header
}

class Damaged extends Error {}

/** The files in `zip` by their path. Throws BundleError; `place` is for its messages. */
export async function unzip(zip: Bytes, place: string): Promise<Map<string, Bytes>> {
  try {
    const [entries, end] = directory(zip);
    const wanted = entries.filter((entry) => !entry.name.endsWith("/"));
    checkEntries(wanted);
    const starts = [...entries.map((entry) => entry.start), end].sort((a, b) => a - b);
    const files = new Map<string, Bytes>();
    for (const entry of wanted) {
      const limit = starts.find((start) => start > entry.start) ?? entry.start;
      files.set(entry.name, await unpacked(zip, entry, limit));
    }
    return files;
  } catch (error) {
    if (!(error instanceof Damaged || error instanceof RangeError)) throw error; // RangeError: beyond the end of a DataView
    throw new BundleError(`${place} is not a complete zip (${error.message}): fetch it again`);
  }
}

/** All entries, and where their directory begins. */
function directory(zip: Bytes): [Entry[], number] {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  const end = findEnd(view);
  const [count, size, offset] = [
    view.getUint16(end + 10, true),
    view.getUint32(end + 12, true),
    view.getUint32(end + 16, true),
  ];
  if (size === ZIP64 || offset === ZIP64) throw new Damaged("of the kind zip64, which only files above 4 GB need");
  const start = end - size;
  const before = start - offset; // bytes before the zip itself
  if (start < 0 || before < 0) throw new Damaged("its directory lies before its beginning");
  const entries: Entry[] = [];
  let at = start;
  while (at < end) {
    if (view.getUint32(at, true) !== CENTRAL) throw new Damaged(`no entry of its directory at byte ${at}`);
    const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true)) as [
      number,
      number,
      number,
    ];
    const next = at + CENTRAL_LENGTH + name + extra + comment;
    if (next > end) throw new Damaged("its directory does not end where it should");
    const flags = view.getUint16(at + 8, true);
    entries.push({
      name: nameOf(zip.subarray(at + CENTRAL_LENGTH, at + CENTRAL_LENGTH + name), flags),
      flags,
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      bytes: view.getUint32(at + 24, true),
      attributes: view.getUint32(at + 38, true),
      start: view.getUint32(at + 42, true) + before,
    });
    at = next;
  }
  if (entries.length !== count) throw new Damaged(`${entries.length} entries, it says ${count}`);
  return [entries, start];
}

function findEnd(view: DataView): number {
  const last = view.byteLength - END_LENGTH;
  for (let at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
    if (view.getUint32(at, true) === END && view.getUint16(at + 20, true) === last - at) return at;
  }
  throw new Damaged("it has no directory at its end");
}

function nameOf(bytes: Uint8Array, flags: number): string {
  if (!(flags & UTF8_FLAG) && bytes.some((byte) => byte > 127)) {
    throw new BundleError("a zip entry has a name that is neither ASCII nor UTF-8: refused");
  }
  try {
    return utf8(bytes);
  } catch {
    throw new Damaged("a name that is no UTF-8");
  }
}

function checkEntries(entries: readonly Entry[]): void {
  if (entries.length > MAX_FILES) {
    throw new BundleError(`the zip has ${entries.length} files, at most ${MAX_FILES} are accepted: refused`);
  }
  const size = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  if (size > MAX_BYTES) {
    throw new BundleError(`the zip unpacks to ${size} bytes, at most ${MAX_BYTES} are accepted: refused`);
  }
  const seen = new Set<string>();
  for (const entry of entries) {
    const name = shown(entry.name);
    if (entry.name !== MANIFEST && entry.name !== SIGNATURE) checkPath(entry.name);
    if (entry.flags & ENCRYPTED) throw new BundleError(`zip entry ${name} is encrypted: expected a plain zip`);
    const kind = (entry.attributes >>> 16) & 0o170000;
    if (kind !== 0 && kind !== 0o100000) throw new BundleError(`zip entry ${name} is a link or special file: refused`);
    if (seen.has(entry.name.toLowerCase())) throw new BundleError(`zip entry ${name} appears twice: refused`);
    seen.add(entry.name.toLowerCase()); // two such names are one file on a phone's storage
  }
}

/** The bytes of one entry, which lies before `limit`. */
async function unpacked(zip: Bytes, entry: Entry, limit: number): Promise<Bytes> {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  const { start, flags, method } = entry;
  if (view.getUint32(start, true) !== LOCAL) throw new Damaged(`no entry at byte ${start}`);
  const nameEnd = start + LOCAL_LENGTH + view.getUint16(start + 26, true);
  const local = nameOf(zip.subarray(start + LOCAL_LENGTH, nameEnd), flags);
  if (local !== entry.name) throw new Damaged(`${shown(entry.name)} is called ${shown(local)} elsewhere`);
  const from = nameEnd + view.getUint16(start + 28, true);
  if (from + entry.packed > limit) throw new Damaged(`${shown(entry.name)} reaches into the next entry`);
  if (flags & UNKNOWN_FLAGS || (method !== STORED && method !== DEFLATED)) {
    throw new Damaged(`${shown(entry.name)} is packed in way ${method}, expected stored or deflated`);
  }
  const packed = new Uint8Array(zip.subarray(from, from + entry.packed));
  const bytes = method === STORED ? packed : await inflated(packed, entry);
  if (bytes.length !== entry.bytes || crc32(bytes) !== entry.crc) {
    throw new Damaged(`${shown(entry.name)} is not what was packed`);
  }
  return bytes;
}

/** Reads no more than the entry declares. */
async function inflated(packed: Bytes, entry: Entry): Promise<Bytes> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const reader = stream.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      size += part.value.length;
      if (size > entry.bytes) {
        await reader.cancel();
        break;
      }
    }
  } catch (error) {
    throw new Damaged(`${shown(entry.name)} cannot be inflated: ${error instanceof Error ? error.message : error}`);
  }
  return joined(parts);
}

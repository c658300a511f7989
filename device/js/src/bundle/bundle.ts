// A bundle from a stranger's hands to checked files.
//
// Nothing here or above it parses a graph, a checkpoint or a pack before every byte has been accounted for by the manifest. Paths
// are checked before they are opened, sizes before contents are read.

import { sha256, type Bytes } from "../bytes.js";
import { BundleError, shown } from "./errors.js";
import { checkGraph } from "./graphs.js";
import {
  GRAPH_SUFFIX,
  checkId,
  parseFiles,
  parseManifest,
  parseManifestJson,
  type FileEntry,
  type Manifest,
} from "./manifest/manifest.js";
import { withNames, type Names } from "./manifest/spare.js";
import { MANIFEST, SIGNATURE } from "./paths.js";
import { readGolden, readSupervision, type Samples, type Supervision } from "./packs.js";
import { checkSignature } from "./signature.js";
import { MemorySource, type Source } from "./source.js";
import { unzip } from "./zip/zip.js";

const MAX_MANIFEST_BYTES = 16 * 2 ** 20;
const SIGNATURE_BYTES = 64;

export interface OpenOptions {
  /** The PEM text of an Ed25519 public key: only a bundle that the holder of the private one signed. */
  readonly key?: string;
}

/** One opened bundle, checked when it was opened. */
export class Bundle {
  private constructor(
    readonly manifest: Manifest,
    private readonly source: Source,
  ) {}

  /** Makes all checks of docs/bundle.md, "Reading one safely", in its order. Throws BundleError. */
  static async open(source: Source, options: OpenOptions = {}): Promise<Bundle> {
    return new Bundle(await checked(source, options.key), source);
  }

  /** A zip whose root holds manifest.json; it is unpacked into memory. Throws BundleError. */
  static async fromZip(zip: Bytes, options: OpenOptions = {}, place = "the zip"): Promise<Bundle> {
    return Bundle.open(new MemorySource(place, await unzip(zip, place)), options);
  }

  /** The same bundle with an owner's names for spare classes, by what the bundle calls them. */
  named(names: Names): Bundle {
    return new Bundle(withNames(this.manifest, names), this.source);
  }

  /** The bytes of the file that the manifest calls `file`. Throws BundleError. */
  async read(file: string): Promise<Bytes> {
    const entry = this.manifest.files.get(file);
    if (entry === undefined) throw new BundleError(`the bundle has no file ${shown(file)}`);
    return this.source.read(file, entry.bytes);
  }

  /** The replay samples with the mentor's answers, read whole into memory. Throws BundleError. */
  async supervision(): Promise<Supervision> {
    const { supervision } = this.manifest;
    return readSupervision(await this.read(supervision), supervision, this.manifest);
  }

  /** The samples that the guard judges a run by. Throws BundleError. */
  async golden(): Promise<Samples> {
    const { golden } = this.manifest;
    return readGolden(await this.read(golden), golden, this.manifest);
  }
}

async function checked(source: Source, key: string | undefined): Promise<Manifest> {
  const text = await manifestOf(source);
  if (key !== undefined) await checkSignature(await signatureOf(source), text, key);
  const raw = parseManifestJson(text);
  await checkId(text, raw);
  const files = parseFiles(raw);
  const graphs = new Map<string, Bytes>();
  for (const [name, entry] of files) {
    const content = await checkedFile(source, name, entry);
    if (name.endsWith(GRAPH_SUFFIX) && content.length) graphs.set(name, content);
  }
  for (const name of [...(await source.names())].sort()) {
    if (files.has(name) || name === MANIFEST || name === SIGNATURE) continue;
    throw new BundleError(
      `${shown(name, 200)} is in the bundle but manifest.json does not list it: remove it or fetch the bundle again`,
    );
  }
  const manifest = parseManifest(raw);
  const { stock } = manifest;
  const stockGraphs = stock === null ? [] : [stock.gradients, stock.optimizer, stock.forward].map(({ file }) => file);
  for (const [name, content] of graphs) checkGraph(content, name, files, stockGraphs.includes(name));
  return manifest;
}

async function manifestOf(source: Source): Promise<Bytes> {
  const found = await source.find(MANIFEST, MAX_MANIFEST_BYTES);
  if (found.kind !== "file")
    throw new BundleError(`${source.place} holds no regular file ${MANIFEST}: it is not a bundle`);
  const text = found.bytes > MAX_MANIFEST_BYTES ? null : await source.read(MANIFEST, MAX_MANIFEST_BYTES + 1);
  if (text === null || text.length > MAX_MANIFEST_BYTES) {
    throw new BundleError(`${MANIFEST} in ${source.place} is above ${MAX_MANIFEST_BYTES} bytes: refused`);
  }
  return text;
}

async function signatureOf(source: Source): Promise<Bytes | undefined> {
  const found = await source.find(SIGNATURE, SIGNATURE_BYTES);
  return found.kind === "file" ? source.read(SIGNATURE, SIGNATURE_BYTES + 1) : undefined;
}

async function checkedFile(source: Source, name: string, entry: FileEntry): Promise<Bytes> {
  const found = await source.find(name, entry.bytes);
  if (found.kind === "link") {
    throw new BundleError(`${shown(name)} is a link or lies behind one: a bundle holds plain files only, refused`);
  }
  if (found.kind !== "file") throw new BundleError(`${shown(name)} is missing from the bundle: fetch it again`);
  requireSize(name, found.bytes, entry);
  const content = await source.read(name, entry.bytes + 1);
  requireSize(name, content.length, entry); // a server may say another size, or none
  const digest = await sha256(content);
  if (digest !== entry.sha256) {
    throw new BundleError(
      `${shown(name)} has sha256 ${digest.slice(0, 12)}…, expected ${entry.sha256.slice(0, 12)}…: altered, refused`,
    );
  }
  return content;
}

function requireSize(name: string, bytes: number, entry: FileEntry): void {
  if (bytes === entry.bytes) return;
  throw new BundleError(
    `${shown(name)} has ${bytes} bytes, expected ${entry.bytes}: truncated or altered, fetch it again`,
  );
}

// A bundle from a server: a zip, or a folder whose manifest.json says what to ask for.

import { joined, type Bytes } from "../bytes.js";
import { Bundle, type OpenOptions } from "./bundle.js";
import { BundleError } from "./errors.js";
import { MemorySource, type Found, type Source } from "./source.js";
import { MAX_BYTES } from "./zip/zip.js";

export interface FetchOptions extends OpenOptions {
  readonly fetch?: typeof globalThis.fetch;
  readonly signal?: AbortSignal;
}

/** `url` of a zip, of a folder (it ends in "/"), or of the manifest.json in one. Throws BundleError; what was fetched of a folder
 * stays in memory. */
export async function fetchBundle(url: string | URL, options: FetchOptions = {}): Promise<Bundle> {
  const where = new URL(url, globalThis.location?.href);
  const server = new Server(where, options);
  if (/(^|\/)(manifest\.json)?$/.test(where.pathname)) return Bundle.open(server, options);
  const zip = await server.fetched(where, MAX_BYTES);
  if (zip === null) throw new BundleError(`no bundle at ${where}: expected a zip, or a folder with manifest.json`);
  if (zip.length > MAX_BYTES) throw new BundleError(`${where} has more than ${MAX_BYTES} bytes: refused`);
  return Bundle.fromZip(zip, options, String(where));
}

/** Files below a URL; only those that are asked for are there. */
class Server implements Source {
  readonly place: string;
  private readonly files = new Map<string, Bytes>();

  constructor(
    private readonly base: URL,
    private readonly options: FetchOptions,
  ) {
    this.place = String(new URL(".", base));
  }

  async names(): Promise<readonly string[]> {
    return [...this.files.keys()];
  }

  async find(name: string, most: number): Promise<Found> {
    if (!this.files.has(name)) {
      const file = await this.fetched(new URL(name.split("/").map(encodeURIComponent).join("/"), this.base), most);
      if (file === null) return { kind: "missing" };
      this.files.set(name, file);
    }
    return new MemorySource(this.place, this.files).find(name);
  }

  async read(name: string): Promise<Bytes> {
    return new MemorySource(this.place, this.files).read(name);
  }

  /** null where there is no such file; what is above `most` bytes is cut off somewhere above them. */
  async fetched(url: URL, most: number): Promise<Bytes | null> {
    const { signal } = this.options;
    let response: Response;
    const parts: Uint8Array[] = [];
    try {
      response = await (this.options.fetch ?? globalThis.fetch)(url, signal === undefined ? {} : { signal });
      if (response.status === 404 || response.status === 410) return null;
      if (!response.ok) throw new Error(`status ${response.status}`);
      const reader = response.body?.getReader();
      let size = 0;
      for (let part = await reader?.read(); part !== undefined && !part.done; part = await reader?.read()) {
        parts.push(part.value);
        size += part.value.length;
        if (size > most) await reader?.cancel();
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw new BundleError(`${url} cannot be fetched (${error instanceof Error ? error.message : error}): try again`);
    }
    return joined(parts);
  }
}

// A mentor's service at one address: one request at a time, over TLS, with the device's token.

import { joined, type Bytes } from "../bytes.js";
import { isAddress } from "../bundle/manifest/mentor.js";
import { AskError, NotNow, NotTaken } from "./errors.js";

const PATH = "/v1/answers";
const HERE = ["localhost", "127.0.0.1", "[::1]"]; // where a request without TLS crosses no network
const LINE = 300; // characters of what a service says that an error repeats
const ERROR_BODY = 1 << 16;
// Node's codes of a certificate; a browser tells a page of none.
const NOT_NOW: Record<string, string> = { CERT_NOT_YET_VALID: "not valid yet", CERT_HAS_EXPIRED: "expired" };
const NOT_TRUSTED = /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_CERT_)/;

export interface ServiceOptions {
  readonly fetch?: typeof globalThis.fetch;
  /** For one request, 60 by default. */
  readonly seconds?: number;
}

export class Service {
  /** Without a path. */
  readonly address: string;
  private readonly fetch: typeof globalThis.fetch;
  private readonly seconds: number;

  /** `address`: https://HOST[:PORT], http for this machine alone; `token`: this device's. Throws AskError. */
  constructor(
    address: string,
    private readonly token: string,
    { fetch = (...given) => globalThis.fetch(...given), seconds = 60 }: ServiceOptions = {},
  ) {
    const shown = JSON.stringify(String(address).slice(0, 70));
    if (!isAddress(address)) throw new AskError(`service ${shown}; expected https://HOST or https://HOST:PORT`);
    const url = addressOf(address);
    if (url === null) throw new AskError(`service ${shown} has no host or port that there is`);
    if (url.protocol === "http:" && !HERE.includes(url.hostname)) {
      throw new AskError(
        `${address} has no TLS, so samples and the token would cross the network in the clear: use https`,
      );
    }
    if (typeof token !== "string" || !/^[!-~]+$/.test(token)) {
      throw new AskError(
        "the token is empty, or has a space or line break in it: give what `python -m mentor.serve token` printed, alone",
      );
    }
    [this.address, this.fetch, this.seconds] = [address, fetch, seconds];
  }

  /** The body of a 200, of at most `most` bytes. Throws NotNow, NotTaken, AskError, by what the service says. */
  async ask(body: Bytes, kind: string, most: number): Promise<Bytes> {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), 1000 * this.seconds);
    try {
      const response = await this.fetch(`${this.address}${PATH}`, {
        method: "POST",
        body,
        headers: { "Content-Type": kind, Authorization: `Bearer ${this.token}` },
        redirect: "manual",
        credentials: "omit",
        cache: "no-store",
        referrerPolicy: "no-referrer",
        signal: controller.signal,
      });
      if (response.redirected || response.type === "opaqueredirect") throw this.elsewhere();
      const content = await bodyOf(response, response.status === 200 ? most : ERROR_BODY);
      if (response.status !== 200) throw this.refused(response, content);
      if (content.length > most)
        throw new AskError(`the service's answer is above ${most} bytes: it is not for these samples`);
      return content;
    } catch (error) {
      if (error instanceof AskError) throw error;
      if (controller.signal.aborted) throw this.unreachable(`nothing came within ${this.seconds} s`);
      throw this.certificate(error) ?? (await this.otherOrigin(controller.signal)) ?? this.unreachable(said(error));
    } finally {
      clearTimeout(timer);
    }
  }

  private refused(response: Response, content: Bytes): AskError {
    const { status, headers } = response;
    const line = `${this.address} said ${status}: ${detailOf(content) || response.statusText}`;
    if ([408, 425, 429].includes(status) || status >= 500) {
      return new NotNow(line, waitOf(headers.get("retry-after"), headers.get("date")));
    }
    if (status === 413 || status === 422) return new NotTaken(line);
    if (status === 401 || status === 403) return new AskError(`${line}: give this device's own token`);
    return status >= 300 && status < 400 ? this.elsewhere() : new AskError(line);
  }

  private unreachable(why: string): NotNow {
    return new NotNow(`${this.address} cannot be reached (${why})`);
  }

  private certificate(error: unknown): AskError | null {
    const cause =
      error instanceof Error ? (error.cause as { code?: unknown; message?: unknown } | undefined) : undefined;
    const code = typeof cause?.code === "string" ? cause.code : "";
    const state = NOT_NOW[code];
    if (state !== undefined) {
      const now = new Date().toISOString().slice(0, 16).replace("T", " ");
      return new NotNow(
        `the certificate of ${this.address} is ${state}, by this device's clock (${now} UTC): is that right?`,
      );
    }
    if (!NOT_TRUSTED.test(code)) return null;
    const why = onOneLine(String(cause?.message));
    return new AskError(`the certificate of ${this.address} is not trusted (${why}): nothing was sent`);
  }

  /** A browser hides from a page why it got no answer. A service that is there, and that pages of this origin get nothing of, does
   * not allow it. */
  private async otherOrigin(signal: AbortSignal): Promise<AskError | null> {
    const { origin } = (globalThis as { location?: { origin?: string } }).location ?? {};
    if (origin === undefined || origin === new URL(this.address).origin) return null;
    const answers = (mode: RequestMode): Promise<boolean> =>
      this.fetch(`${this.address}/health`, { mode, signal, credentials: "omit", cache: "no-store" }).then(
        () => true,
        () => false,
      );
    if ((await answers("cors")) || !(await answers("no-cors"))) return null;
    return new AskError(
      `${this.address} is there, but does not let pages of ${origin} ask: nothing was sent; who runs it names them (origins=…)`,
    );
  }

  private elsewhere(): AskError {
    return new AskError(`${this.address} points elsewhere; samples go to no address but the one that was given`);
  }
}

function addressOf(address: string): URL | null {
  try {
    return new URL(address);
  } catch {
    return null;
  }
}

/** What is above `most` bytes is cut off somewhere above them. */
async function bodyOf(response: Response, most: number): Promise<Bytes> {
  if (response.body === null || response.body === undefined) return new Uint8Array(await response.arrayBuffer()); // React Native
  const reader = response.body.getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  for (let part = await reader.read(); !part.done && size <= most; part = await reader.read()) {
    parts.push(part.value);
    size += part.value.length;
  }
  if (size > most) await reader.cancel();
  return joined(parts);
}

/** The one line of an error's body. */
function detailOf(content: Bytes): string {
  try {
    const { detail } = JSON.parse(new TextDecoder().decode(content)) ?? {};
    return typeof detail === "string" ? onOneLine(detail) : "";
  } catch {
    return "";
  }
}

/** Seconds of a Retry-After; a date there is held against the service's own clock, not against the device's. */
export function waitOf(retryAfter: string | null, date: string | null): number | null {
  if (retryAfter === null) return null;
  if (/^\s*\d+\s*$/.test(retryAfter)) return Number(retryAfter);
  const seconds = (Date.parse(retryAfter) - Date.parse(date ?? "")) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

/** A failed fetch says why in its cause, where it does at all. */
function said(error: unknown): string {
  const { message, cause } = error instanceof Error ? error : { message: String(error), cause: undefined };
  return onOneLine(cause instanceof Error ? `${message}: ${cause.message}` : message);
}

function onOneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, LINE);
}

import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as node from "onnxruntime-node";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { Samples } from "../../src/bundle/packs.js";
import { SampleError } from "../../src/bundle/preprocess.js";
import { openBundle } from "../../src/node/folder.js";
import { Asking } from "../../src/online/asking.js";
import { onCharger, onNetwork } from "../../src/online/conditions.js";
import { AskError } from "../../src/online/errors.js";
import { Service, waitOf } from "../../src/online/service.js";
import { Owner } from "../../src/owner/owner.js";
import type { State } from "../../src/owner/state.js";
import { MemoryStorage } from "../../src/storage/memory.js";
import { place, refusal } from "../fixtures.js";
import { THERE, up } from "./there.js";

const { address, token } = THERE ?? { address: "", token: "" };
const WRITTEN = process.env["MENTEE_WRITTEN"] ?? tmpdir();
const N = 12;

let owner: Owner;
let storage: MemoryStorage;
let numbers: number[];
let some: Samples;

async function opened(): Promise<Owner> {
  return Owner.open(await openBundle(place("stock", "spare")), node, storage);
}

beforeAll(async () => {
  if (THERE !== null) await up();
});
beforeEach(async () => {
  if (THERE === null) return;
  storage = new MemoryStorage();
  owner = await opened();
  await owner.set({ goldenDrop: 1, replay: "mentor", rounds: 0 });
  const { input, labels } = await owner.bundle.golden();
  const each = input.length / labels.length;
  some = { input: input.slice(0, N * each), labels: labels.slice(0, N).map((label, row) => (row % 3 ? label : -1)) };
  numbers = await owner.add(some);
});
afterEach(() => owner?.close());

/** A service that answers every request so. */
function answering(answer: () => Response): Service {
  return new Service(address, token, { fetch: async () => answer() });
}

function saying(status: number, detail: string, headers: Record<string, string> = {}): Service {
  return answering(() => new Response(JSON.stringify({ detail }), { status, headers }));
}

/** The owner's queue, by this clock. */
function queue(now: { seconds: number }): Asking {
  const { state } = owner as unknown as { state: State };
  return new Asking(state, owner.learner, () => now.seconds);
}

function includes(whole: Uint8Array, row: number): boolean {
  const each = some.input.length / N;
  return Buffer.from(whole).includes(Buffer.from(some.input.subarray(row * each, (row + 1) * each)));
}

describe.skipIf(THERE === null)("an owner's queue for the mentor's service", () => {
  test("sends what was chosen and nothing else, counts it, and learns from the answers", async () => {
    const sent: [Uint8Array, Record<string, string>][] = [];
    const service = new Service(address, token, {
      fetch: (url, init) => {
        sent.push([init!.body as Uint8Array, init!.headers as Record<string, string>]);
        return fetch(url, init);
      },
    });
    expect(await owner.asking.run(service)).toMatchObject({ sent: 0, why: "" });
    const twice = await Promise.all([1, 2].map(() => owner.asking.add(numbers.slice(0, 11))));
    expect(twice).toEqual([numbers.slice(0, 11), []]);
    expect(await owner.asking.remove(numbers.slice(0, 1))).toEqual(numbers.slice(0, 1));
    expect(sent).toEqual([]);
    // The service takes 8 at once, which the device finds out: the refused request held all of them.
    const result = await owner.asking.run(service, { when: onNetwork });
    expect(result).toEqual({ sent: 20, answered: 10, waiting: 0, refused: 0, why: "", after: 0 });
    expect(sent).toHaveLength(3);
    for (const [body, headers] of sent) {
      expect([includes(body, 0), includes(body, 11)]).toEqual([false, false]);
      expect(Object.keys(headers).sort()).toEqual(["Authorization", "Content-Type"]);
    }
    expect(sent.slice(1).map(([body]) => [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].filter((row) => includes(body, row)))).toEqual(
      [
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
      ],
    );
    const { asked } = owner.asking;
    expect(Object.keys(asked.left).map(Number)).toEqual(numbers.slice(1, 11));
    const bytes = sent.reduce((sum, [body]) => sum + body.length, 0);
    expect(asked).toMatchObject({ sent: 20, sentBytes: bytes, answered: 10, service: address, waiting: [] });

    const guesses = new Map((await owner.guess({ threshold: null })).map((one) => [one.number, one.source]));
    expect([...guesses.values()]).toEqual(["mentor-online", "mentor-online", "mentor-online"]);
    await owner.close();
    owner = await opened(); // the program ends, and begins again
    expect([...owner.asking.answered].sort((a, b) => a - b)).toEqual(numbers.slice(1, 11));
    expect((await owner.learn({ steps: 3, seed: 1 })).status).toBe("accepted");
    expect(owner.log.find(({ text }) => text.includes("begins on"))?.text).toContain(
      "the mentor's answers to 10 of them",
    );

    const file = await owner.exportState();
    await writeFile(join(WRITTEN, "js-asked.state"), file);
    const tablet = await Owner.open(owner.bundle, node, new MemoryStorage());
    await tablet.merge(file);
    expect(tablet.asking.answered).toHaveLength(10);
    expect(tablet.asking.asked.sent).toBe(0); // counted where it was sent
    await tablet.close();
    const there = { answered: numbers.slice(1, 11), left: numbers.slice(1, 11), sent: [asked.sent, asked.sentBytes] };
    const sources = owner.samples.map(({ source }) => source);
    const { last } = await owner.learn({ steps: 4, rounds: 1 });
    await writeFile(join(WRITTEN, "js-asked.json"), JSON.stringify({ ...there, sources, service: address, last }));
    await owner.unlearn(numbers.slice(1, 3));
    expect(owner.asking.answered).not.toContain(numbers[1]);
    expect(Object.keys(owner.asking.asked.left)).toHaveLength(8);
    expect(owner.asking.asked.sent).toBe(20);
    expect((await storage.names()).filter((name) => name.startsWith("answer-"))).toHaveLength(8);

    await storage.write(owner.samples.find(({ number }) => number === numbers[4])!.piece, new Uint8Array());
    const saved = await Owner.importState(await owner.exportState(), owner.bundle, node, new MemoryStorage());
    expect([saved.samples.length, saved.asking.answered.length]).toEqual([9, 7]); // a damaged sample takes its answer along
    await saved.close();
  });

  test("may be sent while a run learns, which is for the next one to know", async () => {
    const after = async (asking: boolean): Promise<Float32Array> => {
      const place = new MemoryStorage();
      const other = await Owner.open(owner.bundle, node, place);
      await other.set({ goldenDrop: 1, replay: "mentor", rounds: 0 });
      await other.asking.add((await other.add(some)).slice(0, 2));
      const run = other.learn({ steps: 6, seed: 3, saveEvery: 1 });
      if (asking) expect(await other.asking.run(new Service(address, token))).toMatchObject({ answered: 2 });
      expect((await run).status).toBe("accepted");
      expect(other.asking.answered).toHaveLength(asking ? 2 : 0);
      const saved = other.versions.map(({ snapshot }) => snapshot!.piece);
      expect(await place.names()).toEqual(expect.arrayContaining(saved)); // no change sweeps what another puts
      const { logits } = await other.predict(some.input);
      await other.close();
      return logits;
    };
    expect(await after(true)).toEqual(await after(false));
  });

  test("waits where the service is away, busy or slow, and asks again later", async () => {
    const now = { seconds: 1.8e9 };
    const asking = queue(now);
    const waiting = await asking.add(numbers.slice(0, 2));
    const gone = new Service("https://localhost:65001", token);
    const longAgo = { Date: "Mon, 01 Jan 2001 00:00:00 GMT", "Retry-After": "Mon, 01 Jan 2001 00:00:17 GMT" };
    const cases: [Service, RegExp, number, number][] = [
      [gone, /cannot be reached \(.*ECONNREFUSED/, 2.5, 5],
      [saying(503, "busy", { "Retry-After": "40" }), /said 503: busy/, 40, 40],
      [saying(429, "above 40 samples a minute", longAgo), /said 429: above 40/, 17, 20],
      [answering(() => new Response("half")), /cannot be read/, 20, 40],
      [aborting(), /cannot be reached \(nothing came within 0.05 s\)/, 40, 80],
    ];
    for (const [service, why, least, most] of cases) {
      const result = await asking.run(service);
      expect(result.why).toMatch(why);
      expect(result).toMatchObject({ answered: 0, waiting: 2 });
      expect(result.after).toBeGreaterThanOrEqual(least);
      expect(result.after).toBeLessThanOrEqual(Math.max(least, most));
      expect(asking.asked.waiting).toEqual(waiting);
      expect((await asking.run(service)).sent).toBe(0); // too soon
      now.seconds = asking.asked.notBefore;
    }
    expect(asking.asked.sent).toBe(10);
    await asking.run(gone);
    now.seconds -= 1e9; // the clock goes back: a wait of years is none
    expect((await asking.run(gone)).sent).toBe(2);
    expect((await owner.learn({ steps: 1 })).status).toBe("accepted"); // learning goes on without
    expect(owner.asking.asked.waiting).toEqual(waiting);
  });

  test.each([
    ["early", "not valid yet", -30],
    ["late", "expired", 30],
  ])(
    "says that the clock may be wrong by %s certificates, and waits no longer once it is right",
    async (name, state, years) => {
      const now = { seconds: 1.8e9 };
      const asking = queue(now);
      const waiting = await asking.add(numbers.slice(0, 2));
      const shown = new Date().toISOString().slice(0, 10);
      const { why, sent } = await speakingTls(name, (service) => asking.run(service));
      expect(why).toContain(`is ${state}, by this device's clock (${shown}`);
      expect([sent, asking.asked.waiting]).toEqual([2, waiting]);
      const right = new Service(address, token);
      expect((await asking.run(right)).sent).toBe(0); // left alone, by that clock
      now.seconds -= years * 365 * 86400;
      expect((await asking.run(right)).answered).toBe(2);
    },
  );

  test("ends with an error where waiting does not help", async () => {
    const waiting = await owner.asking.add(numbers.slice(0, 2));
    const elsewhere = { Location: "https://elsewhere.example/" };
    const cases: [Service, RegExp][] = [
      [new Service(address, "wrong"), /said 401: no token, .*give this device's own token/],
      [saying(302, "", elsewhere), /points elsewhere/],
      [saying(404, "no\nsuch"), /said 404: no such$/],
      [answering(() => new Response(new Uint8Array(500_000))), /above .* bytes/],
      [altered(owner.bundle.manifest.mentor!.fingerprint), /for mentor 000000000000… .*its answers are refused/],
      [altered(owner.bundle.manifest.id), /bundle 000000000000…, .*its answers are refused/],
      [altered("mentee-answers/1"), /answers as "0+", this program reads "mentee-answers\/1"/],
    ];
    for (const [service, why] of cases) {
      const error = await refusal(owner.asking.run(service));
      expect(error).toBeInstanceOf(AskError);
      expect(error.message).toMatch(why);
      expect(error.message).not.toMatch(/\n/);
      expect(owner.asking.asked.waiting).toEqual(waiting);
    }
    const unknown = speakingTls("unknown", (service) => owner.asking.run(service));
    expect(await refusal(unknown)).toMatchObject({
      name: "AskError",
      message: expect.stringMatching(/ is not trusted \(.*\): nothing was sent$/),
    });
    const other = owner.asking.run(new Service(address, token), { mentor: "0".repeat(64) });
    expect((await refusal(other)).message).toMatch(/the bundle's mentor is .* answers of another are refused/);
    expect(owner.asking.answered).toEqual([]);
    for (const some of [{ together: 0 }, { together: Number.NaN }, { most: 0.5 }]) {
      const endless = owner.asking.run(saying(503, "busy"), some);
      expect((await refusal(endless)).message).toMatch(/(together|most) is .*, expected a whole number of at least/);
    }
    for (const [where, given, why] of [
      ["http://mentor.example", "token", /in the clear/],
      ["https://mentor.example/path", "token", /expected https/],
      ["https://mentor.example:99999", "token", /no host or port/],
      ["https://mentor.example", "two words", /has a space or line break in it/],
    ] as const) {
      expect(() => new Service(where, given)).toThrow(why);
    }
    expect((await refusal(owner.asking.add([99]))).message).toMatch(/no sample 99/);
    await expect(owner.asking.add([99])).rejects.toThrow(SampleError);
  });

  test("is not held up by a sample that the service does not take, nor sent under other conditions", async () => {
    await owner.asking.add(numbers.slice(0, 3));
    const never = { when: () => false };
    const service = saying(422, "not finite");
    expect(await owner.asking.run(service, never)).toMatchObject({ sent: 0, why: "not under these conditions" });
    expect(await onCharger()).toBe(false); // Node does not know
    expect(await owner.asking.run(service)).toMatchObject({ waiting: 0, refused: 3, why: "" });
    expect(Object.values(owner.asking.asked.refused)).toEqual(Array(3).fill(expect.stringMatching(/not finite/)));
    expect(await owner.asking.add(numbers.slice(0, 1))).toEqual(numbers.slice(0, 1)); // chosen anew
    expect(Object.keys(owner.asking.asked.refused).map(Number)).toEqual(numbers.slice(1, 3));
  });

  test("is left alone by the real service once it has asked too much", async () => {
    await owner.asking.add();
    const asking = queue({ seconds: 1.8e9 });
    for (let round = 0; round < 9; round++) {
      const result = await asking.run(new Service(address, token), { together: 8 });
      if (result.why) {
        expect(result.why).toMatch(/said 429: above 40 samples a minute; ask again in \d+ s/);
        expect(result.after).toBeGreaterThanOrEqual(1);
        expect(asking.asked.waiting.length).toBeGreaterThan(0);
        return;
      }
      await owner.remove(numbers); // and their answers
      numbers = await owner.add(some);
      await owner.asking.add();
    }
    throw new Error("it never said no");
  });

  test("goes by the service's clock", () => {
    expect(waitOf("Mon, 01 Jan 2001 00:01:30 GMT", "Mon, 01 Jan 2001 00:00:00 GMT")).toBe(90);
    expect([waitOf("7", null), waitOf(null, null), waitOf("soon", null)]).toEqual([7, null, null]);
  });
});

/** The real service, with zeros in place of what it says of itself. */
function altered(value: string): Service {
  return new Service(address, token, {
    fetch: async (url, init) => {
      const body = Buffer.from(await (await fetch(url, init)).arrayBuffer());
      body.write("0".repeat(value.length), body.indexOf(value));
      return new Response(body);
    },
  });
}

/** What `ask` comes to at a server that has this certificate. */
async function speakingTls<T>(name: string, ask: (service: Service) => Promise<T>): Promise<T> {
  const read = (kind: string): Promise<Buffer> => readFile(join(THERE!.certificates, `${name}.${kind}`));
  const server = createServer({ cert: await read("pem"), key: await read("key") }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await ask(new Service(`https://localhost:${(server.address() as AddressInfo).port}`, token));
  } finally {
    server.close();
  }
}

/** Takes a request, and never answers. */
function aborting(): Service {
  const hang: typeof fetch = (_, init) =>
    new Promise((_resolve, reject) =>
      init!.signal!.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError"))),
    );
  return new Service(address, token, { fetch: hang, seconds: 0.05 });
}

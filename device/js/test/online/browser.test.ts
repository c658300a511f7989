// A page that asks the mentor's real service, which is of another origin: what a browser adds to asking.

import { X509Certificate, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { openBundle } from "../../src/node/folder.js";
import { Service } from "../../src/online/service.js";
import { largestReply, readReply, requestBody } from "../../src/online/wire.js";
import { Browser, CHROMIUM, ran } from "../browser/chromium.js";
import { place } from "../fixtures.js";
import { THERE, TRUSTED, up } from "./there.js";

const { address, tablet, page: origin } = THERE ?? { address: "", tablet: "", page: "http://127.0.0.1" };
const N = 3;

const OWNER = `
  const { IndexedDbStorage, Owner, Service, fetchBundle } = await import("/dist/index.js");
  const ort = await import("/ort/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = "/ort/";
  ort.env.wasm.numThreads = 1;
  const owner = await Owner.open(await fetchBundle("/fixtures/stock/spare/"), ort, await IndexedDbStorage.open());
  const service = (token, address = ${JSON.stringify(address)}) => new Service(address, token);
  const golden = await owner.bundle.golden();
  const each = golden.input.length / golden.labels.length;
  const some = (count) => ({ input: golden.input.slice(0, count * each), labels: golden.labels.slice(0, count) });
  const refusal = (token, address) => owner.asking.run(service(token, address)).then(String, String);`;

/** Trusts the service's certificate, and no other. */
function trusting(): string {
  const { publicKey } = new X509Certificate(readFileSync(TRUSTED));
  const key = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" }));
  return `--ignore-certificate-errors-spki-list=${key.digest("base64")}`;
}

describe.skipIf(THERE === null || CHROMIUM === null)("a page of another origin than the service's", () => {
  let browser: Browser;
  let page: Page;
  beforeAll(async () => {
    await up();
    browser = await Browser.start(["--disable-gpu", trusting()], Number(new URL(origin).port));
    page = await browser.tab();
  });
  afterAll(() => browser.close());

  test("asks where it is allowed, and reads refusals and when to come again", async () => {
    const { asked, wrong, result, numbers, answered, logits, busy } = await ran(
      page,
      `${OWNER}
      const numbers = await owner.add(some(${N} + 8));
      await owner.asking.add(numbers.slice(0, ${N}));
      const wrong = await refusal("wrong");
      const result = await owner.asking.run(service(${JSON.stringify(tablet)}));
      const { asked, answered } = owner.asking;
      const { manifest } = owner.bundle;
      const { readAnswer } = await import("/dist/online/answers.js");
      const logits = [];
      for (const one of owner.state.now.answers) logits.push(...(await readAnswer(owner.state, manifest, one)).mentorLogits);

      const { requestBody } = await import("/dist/online/wire.js");
      const [body, kind] = requestBody(some(1).input, manifest, manifest.mentor.fingerprint);
      const headers = { "Content-Type": kind, Authorization: "Bearer ${tablet}" };
      const one = () => fetch("${address}/v1/answers", { method: "POST", body, headers });
      while ((await one()).ok); // then the device's samples of this minute are used up
      await owner.asking.add();
      const busy = await owner.asking.run(service(${JSON.stringify(tablet)}));
      return { asked, wrong, result, numbers, answered: [...answered], logits, busy };`,
    );
    expect(wrong).toMatch(/AskError: .* said 401: no token, .*give this device's own token$/);
    expect(result).toEqual({ sent: N, answered: N, waiting: 0, refused: 0, why: "", after: 0 });
    expect(asked).toMatchObject({ sent: 2 * N, answered: N, service: address, waiting: [] }); // with those of the wrong token
    expect(Object.keys(asked.left).map(Number)).toEqual(numbers.slice(0, N));
    expect(answered).toEqual(numbers.slice(0, N));
    expect(logits).toEqual(await asNodeIsTold());
    expect([busy.why, busy.waiting]).toEqual([expect.stringMatching(/said 429: above 40 samples a minute/), 8]);
    expect(busy.after).toBeGreaterThan(5); // the longest back-off of a first failure: it has read Retry-After
  });

  test("is told that it is not allowed, or that the service is away", async () => {
    const other = origin.replace("127.0.0.1", "localhost");
    await page.goto(other);
    const [refused, away, waiting] = await ran(
      page,
      `${OWNER}
      await owner.asking.add(await owner.add(some(1)));
      const refused = await refusal("token");
      const { why } = await owner.asking.run(service("token", "https://localhost:65001"));
      return [refused, why, owner.asking.asked.waiting.length];`,
    );
    expect(refused).toContain(`${address} is there, but does not let pages of ${other} ask: nothing was sent`);
    expect(away).toBe("https://localhost:65001 cannot be reached (Failed to fetch)");
    expect(waiting).toBe(1);
  });
});

/** The answers to the same samples, outside a browser. */
async function asNodeIsTold(): Promise<number[]> {
  const bundle = await openBundle(place("stock", "spare"));
  const { manifest } = bundle;
  const { input, labels } = await bundle.golden();
  const { fingerprint } = manifest.mentor!;
  const [body, kind] = requestBody(input.slice(0, (N * input.length) / labels.length), manifest, fingerprint);
  const content = await new Service(address, THERE!.watch).ask(body, kind, largestReply(manifest, N));
  return [...readReply(content, manifest, fingerprint, N).mentorLogits];
}

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { CHROMIUM } from "../../test/browser/chromium.js";
import { MADE, serve, strokes, type Served } from "./site.js";
import { Visitor } from "./visitor.js";

const EMOJI = { heart: "❤️", cat: "🐱", anchor: "⚓" } as const;

interface Traced {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly tdur?: number;
  readonly args: { readonly name?: string };
}

/** Milliseconds of processor time that each task of the pages' own threads took: other work on the machine does not count. */
function ofThePage(trace: string): number[] {
  const { traceEvents } = JSON.parse(trace) as { traceEvents: Traced[] };
  const thread = ({ pid, tid }: Traced): string => `${pid}:${tid}`;
  const named = traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const main = new Set(named.map(thread));
  const tasks = traceEvents.filter((event) => event.name.endsWith("RunTask") && main.has(thread(event)));
  return tasks.flatMap(({ tdur }) => (tdur === undefined ? [] : [tdur / 1000]));
}

describe.skipIf(!MADE || CHROMIUM === null)("a mentee in the browser", () => {
  let browser: Browser;
  let site: string; // a copy, whose files are changed
  let served: Served;
  let visitor: Visitor;
  const shapes = Object.entries(EMOJI).map(([word, emoji]) => {
    const shape = strokes().shapes.find(({ name }) => name === word);
    if (shape === undefined) throw new Error(`nobody drew ${word}`);
    return { word, emoji, shape };
  });
  const right = async (): Promise<number> => {
    let all = 0;
    for (const { emoji, shape } of shapes) all += await visitor.right(shape, emoji);
    return all / shapes.length;
  };

  beforeAll(async () => {
    site = await mkdtemp(join(tmpdir(), "mentee-page-"));
    await cp(join(MADE, "site"), site, { recursive: true });
    served = await serve(site);
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox"] });
    const context = await browser.newContext();
    visitor = new Visitor(await context.newPage(), served.origin);
    await visitor.open();
  });
  afterAll(async () => {
    await browser.close();
    await served.close();
    await rm(site, { recursive: true, force: true });
  });

  test("knows what it came with, in the right words", async () => {
    let all = 0;
    const { known } = strokes();
    for (const shape of known) all += await visitor.right(shape, shape.name);
    expect(all / known.length).toBeGreaterThan(0.7);
  });

  test("knows shapes that it never saw from five drawings, and better once it has learnt them", async () => {
    for (const { word, shape } of shapes) await visitor.teach(shape.teach, word);
    expect(await visitor.at("taught").locator("li").count()).toBe(shapes.length);
    expect(await right()).toBeGreaterThan(0.6);
    await visitor.draw(shapes[0]!.shape.ask[0]!);
    await visitor.answer();
    const before = await visitor.at("answer").innerText();
    expect(await visitor.learn()).toBe("accepted");
    await expect.poll(() => visitor.at("answer").innerText()).not.toBe(before); // asked again, though nothing new was drawn
    await visitor.press("clear");
    expect(await right()).toBeGreaterThan(0.85);
    const fall = Number(await visitor.at("fall").getAttribute("data-points"));
    expect(fall).toBeGreaterThan(-3); // of 940 drawings: the guard lets 2 points pass, and what may be chance
    expect(await visitor.at("known").allInnerTexts()).toEqual(shapes.map(() => "learnt"));
  });

  test("still does after a reload, and without a network, by the newest page that came whole", async () => {
    await visitor.page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");
    const [old] = await visitor.page.evaluate(() => caches.keys());
    const worker = join(site, "sw.js");
    await writeFile(worker, (await readFile(worker, "utf8")).replace(old!, "mentee-page-next"));
    const icon = await readFile(join(site, "icon.svg"));
    const updated = async (content: string | Buffer): Promise<boolean> => {
      await writeFile(join(site, "icon.svg"), content);
      return visitor.page.evaluate(async () => {
        const registration = await navigator.serviceWorker.ready;
        await registration.update();
        while (registration.installing !== null) await new Promise((later) => setTimeout(later, 20));
        return registration.waiting !== null;
      });
    };
    expect([await updated("cut off"), await updated(icon)]).toEqual([false, true]);
    expect(await visitor.ask(shapes[0]!.shape.ask[0]!)).toBe(shapes[0]!.emoji); // the open page goes on
    await served.close();
    await visitor.page.context().setOffline(true);
    await visitor.page.reload();
    await visitor.page.waitForFunction(async () => (await caches.keys()).join() === "mentee-page-next");
    await visitor.ready();
    expect(await right()).toBeGreaterThan(0.85);
    await visitor.page.context().setOffline(false);
  });

  test("never holds the page up while it learns", async () => {
    await browser.startTracing(visitor.page, { categories: ["toplevel", "__metadata"] });
    await visitor.learn();
    const tasks = ofThePage((await browser.stopTracing()).toString());
    expect(tasks.length).toBeGreaterThan(20);
    expect(Math.max(...tasks)).toBeLessThan(50);
  });

  test("asks nobody else, and forbids it", async () => {
    const policy = await visitor.page.locator("meta[http-equiv=Content-Security-Policy]").getAttribute("content");
    expect(policy).toMatch(/default-src 'none'.*connect-src 'self'/);
    const refused = await visitor.page.evaluate(async () => {
      const told = new Promise<string>((resolve) =>
        addEventListener("securitypolicyviolation", ({ blockedURI }) => resolve(blockedURI)),
      );
      await fetch("https://example.org/").catch(() => undefined);
      return told;
    });
    expect(refused).toContain("https://example.org");
    expect(visitor.asked.length).toBeGreaterThan(5);
    visitor.errors.splice(0, visitor.errors.length, ...visitor.errors.filter((one) => !one.includes("example.org")));
    visitor.asked.splice(0, visitor.asked.length, ...visitor.asked.filter((one) => !one.includes("example.org")));
    visitor.expectQuiet();
  });
});

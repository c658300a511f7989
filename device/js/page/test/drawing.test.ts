import { chromium, type Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { CHROMIUM } from "../../test/browser/chromium.js";
import { MADE, serve, strokes, type Drawn, type Served } from "./site.js";
import { Visitor } from "./visitor.js";

const DOT: Drawn = [[[100, 100, 0.5]]];
const SPECK: Drawn = [
  [
    [100, 100, 0.5],
    [103, 102, 0.5],
  ],
];

describe.skipIf(!MADE || CHROMIUM === null)("a drawing", () => {
  let browser: Browser;
  let served: Served;
  beforeAll(async () => {
    served = await serve();
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser.close();
    await served.close();
  });

  test("that is none, or too small to see, is not taken, and none is where a file is damaged", async () => {
    const visitor = new Visitor(await browser.newPage(), served.origin);
    await visitor.page.route("**/*.wasm", (route) => route.fulfill({ body: "not found" }));
    await visitor.page.goto(served.origin);
    expect(await visitor.notices()).toMatch(/network could not be fetched.*missing or was cut off/);
    visitor.errors.length = 0;
    await visitor.page.unroute("**/*.wasm");
    await visitor.page.getByRole("button", { name: "Reload" }).click();
    await visitor.ready();
    await visitor.press("teach");
    await visitor.at("word").fill("a".repeat(27));
    expect(await visitor.at("missing").innerText()).toMatch(/at most 24 characters: take 3 off/);
    await visitor.press("keep");
    expect(await visitor.at("pad-line").innerText()).toMatch(/Draw it first/);
    for (const small of [DOT, SPECK]) {
      await visitor.draw(small, { fit: false });
      await visitor.press("keep");
      expect(await visitor.at("pad-line").innerText()).toMatch(/too small to see/);
    }
    expect(await visitor.at("slots").locator("canvas").count()).toBe(0);
    await visitor.press("teach-cancel");
    await visitor.draw(DOT, { fit: false });
    await visitor.page.waitForFunction(() => document.body.innerText.includes("too small to see"));
    visitor.expectQuiet();
    await visitor.page.close();
  });

  test("by a finger that leaves the canvas is what lies on it, and the page does not move", async () => {
    const context = await browser.newContext({ hasTouch: true, isMobile: true, viewport: { width: 360, height: 740 } });
    const visitor = new Visitor(await context.newPage(), served.origin);
    await visitor.open();
    const canvas = visitor.at("shapes-canvas");
    await canvas.scrollIntoViewIfNeeded();
    const box = (await canvas.boundingBox())!;
    const before = await visitor.page.evaluate(() => scrollY);
    const finger = await context.newCDPSession(visitor.page);
    const touch = (type: string, points: number[][]): Promise<unknown> =>
      finger.send("Input.dispatchTouchEvent", {
        type: type as "touchStart",
        touchPoints: points.map(([x = 0, y = 0]) => ({ x: box.x + x, y: box.y + y })),
      });
    const middle = box.width / 2;
    await touch("touchStart", [[middle, box.height * 0.8]]);
    for (let y = box.height * 0.8; y > -40; y -= 12) await touch("touchMove", [[middle, y]]);
    for (let y = -40; y < box.height * 0.8; y += 12) await touch("touchMove", [[middle + 6, y]]);
    await touch("touchEnd", []);
    await visitor.answer();
    const rows = await visitor.page.evaluate(() => {
      const seen = document.querySelector<HTMLCanvasElement>("canvas.seen")!;
      const { data } = seen.getContext("2d")!.getImageData(0, 0, 28, 28);
      return Array.from({ length: 28 }, (_, row) =>
        data.subarray(4 * 28 * row, 4 * 28 * (row + 1)).some((v, i) => i % 4 < 3 && v > 0),
      );
    });
    expect(rows.filter(Boolean).length).toBeGreaterThan(19); // one line from the border down: nothing of it was lost
    expect(await visitor.page.evaluate(() => scrollY)).toBe(before);
    await touch("touchStart", [[middle, 10]]);
    await touch("touchEnd", []);
    visitor.expectQuiet();
    await context.close();
  });

  test("after drawing, 200 a minute, is answered, and the last one at once", async () => {
    const visitor = new Visitor(await browser.newPage(), served.origin);
    await visitor.open();
    const { known } = strokes();
    const [sun, fish] = [known[0]!, known[1]!];
    const count = 30;
    const started = Date.now();
    for (let round = 0; round < count; round++) {
      const { ask } = round % 2 ? sun : fish;
      await visitor.draw(ask[round % ask.length]!);
      if (round < count - 1) {
        await visitor.press("clear");
        // on a machine that others use as well it is fewer
        await visitor.page.waitForTimeout(Math.max(0, started + 300 * (round + 1) - Date.now()));
      }
    }
    const last = Date.now();
    const said = await visitor.answer();
    expect(Date.now() - last).toBeLessThan(3000);
    expect(said).toBe(sun.name);
    visitor.expectQuiet();
    await visitor.page.close();
  });

  test("cannot be made where there is no WebAssembly, which the page says", async () => {
    const bare = await chromium.launch({
      executablePath: CHROMIUM ?? "",
      args: ["--no-sandbox", "--js-flags=--jitless"],
    });
    const page = await bare.newPage();
    await page.goto(served.origin);
    expect(await page.getByTestId("no-wasm").innerText()).toMatch(/cannot run the network[^]*WebAssembly/);
    await bare.close();
  });
});

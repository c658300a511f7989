import { createRequire } from "node:module";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium, type Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { CHROMIUM } from "../../test/browser/chromium.js";
import { MADE, serve, strokes, type Served } from "./site.js";
import { Visitor } from "./visitor.js";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const SHOTS = fileURLToPath(new URL("../../../../build/screenshots/", import.meta.url));
const WIDTHS = [360, 1280];

interface Found {
  readonly violations: readonly {
    readonly id: string;
    readonly impact: string;
    readonly nodes: readonly { readonly html: string }[];
  }[];
}

describe.skipIf(!MADE || CHROMIUM === null)("the page", () => {
  let browser: Browser;
  let served: Served;
  beforeAll(async () => {
    served = await serve();
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox"] });
    await mkdir(SHOTS, { recursive: true });
  });
  afterAll(async () => {
    await browser.close();
    await served.close();
  });

  test.each(["light", "dark"] as const)("is for everybody, in %s", async (colorScheme) => {
    const context = await browser.newContext({ colorScheme, bypassCSP: true, reducedMotion: "reduce" }); // axe comes from outside
    const visitor = new Visitor(await context.newPage(), served.origin);
    const heart = strokes().shapes[0]!;
    const wrong: string[] = [];
    const look = async (name: string): Promise<void> => {
      for (const width of WIDTHS) {
        await visitor.page.setViewportSize({ width, height: 800 });
        await visitor.page.screenshot({ path: `${SHOTS}${name}-${width}-${colorScheme}.png`, fullPage: true });
        const across = await visitor.page.evaluate(() => document.documentElement.scrollWidth);
        if (across > width) wrong.push(`${name} is ${across} wide at ${width}`);
      }
      await visitor.page.addScriptTag({ path: AXE });
      const { violations } = await visitor.page.evaluate<Found>("axe.run()");
      for (const { id, impact, nodes } of violations) {
        if (["serious", "critical"].includes(impact)) wrong.push(`${name}: ${id}, ${nodes[0]?.html}`);
      }
    };
    await visitor.open("shapes");
    await visitor.draw(heart.teach[0]!);
    await visitor.answer();
    await look("shapes");
    await visitor.press("clear");
    await visitor.press("teach");
    const focused = visitor.page.evaluate(() => (document.activeElement as HTMLElement).dataset["testid"]);
    expect(await focused).toBe("keep"); // a keyboard goes on where it was
    for (const drawn of heart.teach.slice(0, 3)) {
      await visitor.draw(drawn);
      await visitor.press("keep");
    }
    await look("teaching");
    await visitor.press("emoji-heart");
    await visitor.press("teach-done");
    await visitor.at("answer").waitFor();
    await visitor.ready();
    await visitor.learn();
    await visitor.draw(heart.ask[0]!);
    await visitor.answer();
    await look("learnt");
    await visitor.open("digits");
    await visitor.draw(strokes().known[0]!.ask[0]!, { canvas: "digits-canvas" });
    await visitor.answer();
    await look("digits");
    await visitor.open("data");
    await visitor.page.locator("[data-testid=stored-shapes] canvas").first().waitFor();
    await look("data");
    expect(wrong).toEqual([]);
    await context.close();
  });
});

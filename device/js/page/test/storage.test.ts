import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { Browser, CHROMIUM } from "../../test/browser/chromium.js";
import { MADE, serve, strokes, type Served } from "./site.js";
import { Visitor } from "./visitor.js";

const [HEART, STAR] = MADE ? strokes().shapes : [];

describe.skipIf(!MADE || CHROMIUM === null)("what is stored", () => {
  let served: Served;
  let scratch: string;
  beforeAll(async () => {
    served = await serve();
    scratch = await mkdtemp(join(tmpdir(), "mentee-page-"));
  });
  afterAll(async () => {
    await served.close();
    await rm(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  });

  test("outlives the browser, whenever it is killed", async () => {
    const browser = await Browser.start();
    try {
      const come = async (): Promise<Visitor> => {
        const visitor = new Visitor(await browser.tab(`${served.origin}/#shapes`), served.origin);
        await visitor.ready();
        return visitor;
      };
      const told = async (visitor: Visitor): Promise<string[]> => {
        const names = await visitor.at("taught").locator(".shape").allInnerTexts();
        const tags = await visitor.at("known").allInnerTexts();
        return names.map((name, place) => `${name} ${tags[place]}`);
      };
      let visitor = await come();
      await visitor.teach(HEART!.teach, "heart");
      await browser.kill(); // the moment after it was acknowledged
      await browser.restart();
      visitor = await come();
      expect(await told(visitor)).toEqual(["❤️ by example"]);
      for (const [round, late] of [5, 60, 200].entries()) {
        await visitor.page.waitForFunction(() => !document.querySelector("[data-testid=learn]:disabled"));
        await visitor.press("learn");
        await visitor.at("progress").waitFor();
        await visitor.page.waitForFunction(
          (least) => (document.querySelector<HTMLProgressElement>("[data-testid=progress]")?.value ?? 1) > least,
          0.2 * (round + 1),
        );
        await visitor.page.waitForTimeout(late); // into the saves of a run
        await browser.kill();
        await browser.restart();
        visitor = await come();
        expect(await told(visitor)).toEqual(["❤️ by example"]);
        expect(await visitor.at("notice").count()).toBe(0);
      }
      expect(await visitor.learn()).toBe("accepted");
      await browser.kill();
      await browser.restart();
      visitor = await come();
      expect(await told(visitor)).toEqual(["❤️ learnt"]);
      visitor.expectQuiet();
    } finally {
      await browser.close();
    }
  });

  test("belongs to one tab at a time, and the second is told", async () => {
    const browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox"] });
    try {
      const context = await browser.newContext();
      const first = new Visitor(await context.newPage(), served.origin);
      await first.open();
      await first.teach(HEART!.teach, "heart");
      const second = new Visitor(await context.newPage(), served.origin);
      await second.page.goto(`${served.origin}/#shapes`);
      expect(await second.notices()).toMatch(/open in another tab.*Close the other one, then try again/);
      await first.page.close();
      await second.page.getByRole("button", { name: "Try again" }).click();
      await second.ready();
      expect(await second.at("taught").locator("li").count()).toBe(1);

      await second.open("data");
      const drawn = second.at("stored-shapes").locator("button[aria-label^=Delete]");
      await drawn.nth(1).press("Enter");
      await second.page.waitForFunction(() => document.activeElement?.getAttribute("data-focus") === "thumb-3"); // of 5, 4, 3 …
      expect(await drawn.count()).toBe(4);
    } finally {
      await browser.close();
    }
  });

  test("is a file that another browser takes, and a wrong one is refused in plain words", async () => {
    const browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox"] });
    try {
      const at = async (context: BrowserContext): Promise<Visitor> =>
        new Visitor(await context.newPage(), served.origin);
      const home = await at(await browser.newContext());
      await home.open();
      await home.teach(HEART!.teach, "heart");
      expect(await home.learn()).toBe("accepted");
      const saved = home.page.waitForEvent("download");
      await home.press("save-model");
      const file = join(scratch, "mine.state");
      await (await saved).saveAs(file);

      const away = await at(await browser.newContext());
      await away.open();
      await away.teach(STAR!.teach, "star");
      await away.open("digits");
      const digits = away.page.waitForEvent("download");
      await away.press("save-model");
      const foreign = join(scratch, "digits.state");
      await (await digits).saveAs(foreign);
      await away.open("shapes");
      const broken = join(scratch, "broken.state");
      await writeFile(broken, "no model, {}\n".repeat(50));
      for (const wrong of [foreign, broken]) {
        await away.at("model-file").setInputFiles(wrong);
        await away.sure();
        expect(await away.notices()).toMatch(/This file cannot be loaded.*What you have here is as it was/);
        await away.page.getByRole("button", { name: "Close" }).click();
        expect(await away.at("taught").locator(".shape").allInnerTexts()).toEqual(["⭐"]);
      }
      await away.at("model-file").setInputFiles(file);
      expect(await away.sure(false)).toMatch(/replaces your 5 drawings/);
      expect(await away.at("taught").locator(".shape").allInnerTexts()).toEqual(["⭐"]);
      await away.at("model-file").setInputFiles(file);
      await away.sure();
      await away.page.locator("[data-name='❤️']").waitFor();
      expect(await away.at("known").allInnerTexts()).toEqual(["learnt"]);
      expect(await away.ask(HEART!.ask[0]!)).toBe("❤️");
      away.expectQuiet();

      expect(await home.at("undo").count()).toBe(1);
      await home.press("remove-class");
      expect(await home.sure()).toMatch(/heart goes, with 5 drawings/);
      await home.page.locator("[data-name='❤️']").waitFor({ state: "detached" });
      expect(await home.at("undo").count()).toBe(0); // there is nothing left to go back to
      home.expectQuiet();
    } finally {
      await browser.close();
    }
  });

  test("is nothing where there is no space, which the page says", async () => {
    const browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox"] });
    try {
      const visitor = new Visitor(await browser.newPage(), served.origin);
      const tools = await visitor.page.context().newCDPSession(visitor.page);
      await tools.send("Storage.overrideQuotaForOrigin", { origin: served.origin, quotaSize: 1000 });
      await visitor.open();
      expect(await visitor.notices()).toMatch(/space for the page is full.*Nothing new can be kept/);
      await visitor.page.getByRole("button", { name: "Close" }).click();
      await visitor.teach(HEART!.teach, "heart", false);
      expect(await visitor.notices()).toMatch(/space for the page is full.*Nothing was lost, and nothing was added/);
      expect(await visitor.at("slots").locator("canvas").count()).toBe(5);
      visitor.expectQuiet();
    } finally {
      await browser.close();
    }
  });

  test("is nothing where the browser forbids it: the page works until it is closed, and says so", async () => {
    const profile = join(scratch, "forbidden");
    await mkdir(join(profile, "Default"), { recursive: true });
    const forbidden = { profile: { default_content_setting_values: { cookies: 2 } } };
    await writeFile(join(profile, "Default", "Preferences"), JSON.stringify(forbidden));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM ?? "",
      args: ["--no-sandbox"],
    });
    try {
      const visitor = new Visitor(await context.newPage(), served.origin);
      await visitor.open();
      expect(
        await visitor.page.evaluate(() =>
          Promise.resolve()
            .then(() => typeof localStorage)
            .catch(String),
        ),
      ).toMatch(/SecurityError|denied/);
      expect(await visitor.notices()).toMatch(/does not let the page store anything.*until you close it/);
      await visitor.teach(HEART!.teach, "heart");
      expect(await visitor.learn()).toBe("accepted");
      expect(await visitor.ask(HEART!.ask[1]!)).toBe("❤️");
    } finally {
      await context.close();
    }
  });
});

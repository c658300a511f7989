// Somebody who visits the page, draws with a pen and reads what it says. Pointer events are the browser's own.

import { expect } from "vitest";
import type { CDPSession, Page } from "playwright-core";

import type { Drawn, Shape } from "./site.js";

const SHARE = 0.7; // of the canvas, that a drawing fills

export class Visitor {
  /** Requests that the page made. */
  readonly asked: string[] = [];
  /** What went wrong in the page without a word to its visitor. */
  readonly errors: string[] = [];
  private pen: CDPSession | null = null;

  constructor(
    readonly page: Page,
    private readonly origin: string,
  ) {
    page.on("request", (request) => void this.asked.push(request.url()));
    page.on("pageerror", (error) => void this.errors.push(error.message));
    page.on("console", (message) => void (message.type() === "error" && this.errors.push(message.text())));
  }

  /** Goes to a view and waits until its network answers. */
  async open(view: "shapes" | "digits" | "data" = "shapes"): Promise<void> {
    await this.page.goto(`${this.origin}/#${view}`);
    await this.ready(view);
  }

  async ready(view: "shapes" | "digits" | "data" = "shapes"): Promise<void> {
    await this.page.locator(`[data-testid=${view}-view][data-state=ready]`).waitFor();
  }

  at(id: string) {
    return this.page.getByTestId(id);
  }

  async press(id: string): Promise<void> {
    await this.at(id).click();
  }

  /** With a pen that presses; `fit` false: points are the canvas' own, wherever they lie. */
  async draw(drawn: Drawn, { canvas = "shapes-canvas", fit = true } = {}): Promise<void> {
    await this.at(canvas).scrollIntoViewIfNeeded();
    const box = await this.at(canvas).boundingBox();
    if (box === null) throw new Error(`there is no ${canvas}`);
    const place = fit ? fitted(drawn, box.width, box.height) : ([x, y]: readonly number[]) => [x ?? 0, y ?? 0] as const;
    const pen = (this.pen ??= await this.page.context().newCDPSession(this.page));
    const sent: Promise<unknown>[] = [];
    const send = (type: "mousePressed" | "mouseMoved" | "mouseReleased", point: Drawn[number][number]): void => {
      const [x, y] = place(point);
      const button = { button: "left", buttons: type === "mouseReleased" ? 0 : 1, clickCount: 1 } as const;
      const at = { x: box.x + x, y: box.y + y, force: point[2], pointerType: "pen" } as const;
      sent.push(pen.send("Input.dispatchMouseEvent", { type, ...button, ...at }));
    };
    for (const stroke of drawn) {
      stroke.forEach((point, place) => send(place ? "mouseMoved" : "mousePressed", point));
      send("mouseReleased", stroke.at(-1) ?? [0, 0, 0.5]);
    }
    await Promise.all(sent);
  }

  /** The likeliest class, once it stays the same. */
  async answer(): Promise<string> {
    const read = (): Promise<string> =>
      this.page.evaluate(() => {
        const image = document.querySelector<HTMLCanvasElement>("canvas.seen");
        const names = [...document.querySelectorAll("[data-testid=answer] .name")].map((one) => one.textContent);
        return image === null ? "" : `${names[0]}\n${names.join()} ${image.toDataURL()}`;
      });
    for (let [last, same] = ["", 0]; ;) {
      const now = await read();
      [last, same] = [now, now && now === last ? same + 1 : 0];
      if (same === 3) return now.split("\n")[0]?.split(" ")[0] ?? "";
      await this.page.waitForTimeout(60);
    }
  }

  async ask(drawn: Drawn): Promise<string> {
    await this.draw(drawn);
    const said = await this.answer();
    await this.press("clear");
    return said;
  }

  /** The share of `shape`'s other drawings that it takes for `name`. */
  async right(shape: Shape, name: string): Promise<number> {
    let right = 0;
    for (const drawn of shape.ask) right += Number((await this.ask(drawn)) === name);
    return right / shape.ask.length;
  }

  /** Answers the question that is asked, and what it says. */
  async sure(yes = true): Promise<string> {
    const question = this.at("sure").filter({ visible: true });
    const text = await question.locator("p").innerText();
    await question.getByTestId(yes ? "sure-yes" : "sure-no").click();
    return text;
  }

  /** Drawings of a new shape, and its emoji `word`. */
  async teach(drawings: readonly Drawn[], word: string, fits = true): Promise<void> {
    await this.press("teach");
    for (const drawn of drawings) {
      await this.draw(drawn);
      await this.press("keep");
    }
    await this.press(`emoji-${word}`);
    await this.press("teach-done");
    if (!fits) return;
    await this.at("answer").waitFor();
    await this.ready();
  }

  async learn(): Promise<string | null> {
    await this.press("learn");
    await this.at("outcome").waitFor({ timeout: 120_000 });
    await this.ready();
    return this.at("outcome").getAttribute("data-status");
  }

  /** Text of the notices at the top. */
  async notices(): Promise<string> {
    await this.at("notice").first().waitFor();
    return (await this.at("notices").innerText()).replace(/\s+/g, " ");
  }

  /** Nothing was asked of anybody else, and nothing went wrong in silence. */
  expectQuiet(): void {
    const elsewhere = this.asked.filter((url) => !/^(data|blob):/.test(url) && new URL(url).origin !== this.origin);
    expect(elsewhere).toEqual([]);
    expect(this.errors).toEqual([]);
  }
}

/** Where a point of `drawn` lies on a canvas, in its middle. */
function fitted(drawn: Drawn, width: number, height: number): (point: readonly number[]) => readonly [number, number] {
  const [xs, ys] = [drawn.flat().map(([x]) => x), drawn.flat().map(([, y]) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (SHARE * Math.min(width, height)) / Math.max(right - left, bottom - top, 1);
  return ([x = 0, y = 0]) => [
    width / 2 + (x - (left + right) / 2) * scale,
    height / 2 + (y - (top + bottom) / 2) * scale,
  ];
}

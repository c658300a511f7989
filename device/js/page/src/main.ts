// Starts the page: which view is shown, when a room is opened, when the service worker comes.

import "./styles/base.css";
import "./styles/layout.css";
import "./styles/parts.css";
import { el } from "./parts/dom.js";
import { installOffline } from "./site/offline.js";
import { provider } from "./site/provider.js";
import { RoomClient } from "./site/room.js";
import { Site } from "./site/site.js";
import { DataView } from "./views/data.js";
import { DigitsView } from "./views/digits.js";
import { ShapesView } from "./views/shapes.js";

const FIRST = "shapes";

interface View {
  readonly title: string;
  readonly element: HTMLElement;
  /** What it needs is opened when it is shown. */
  readonly open: () => Promise<unknown>;
}

function start(main: HTMLElement): void {
  const site = new Site();
  const shapes = new RoomClient("shapes", site);
  const digits = new RoomClient("digits", site);
  const data = new DataView(site, [shapes, digits]);
  const views: Readonly<Record<string, View>> = {
    shapes: {
      title: "Shapes",
      element: new ShapesView(shapes).element,
      open: () => shapes.open(provider()),
    },
    digits: {
      title: "Digits",
      element: new DigitsView(digits).element,
      open: () => digits.open(provider()),
    },
    data: { title: "Your data", element: data.element, open: () => data.open() },
  };
  const show = async (): Promise<void> => {
    const asked = location.hash.slice(1);
    const name = Object.hasOwn(views, asked) ? asked : FIRST;
    const view = views[name];
    if (view === undefined) return;
    main.replaceChildren(view.element);
    document.title = `${view.title} · A page that learns`;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    await view.open();
  };
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault(); // its address would be taken for a part of the page
    main.focus();
  });
  addEventListener("hashchange", () => {
    main.focus();
    void show();
  });
  void show().then(() => installOffline());
}

function cannotRun(): HTMLElement {
  return el(
    "div",
    { class: "notice", role: "alert", "data-testid": "no-wasm" },
    el(
      "div",
      {},
      el("strong", {}, "This browser cannot run the network."),
      "The page needs WebAssembly and workers, which this browser lacks or has switched off. A current browser has them.",
    ),
  );
}

const main = document.querySelector("main");
const able = typeof WebAssembly === "object" && typeof Worker === "function";
if (main !== null && able) start(main);
else main?.replaceChildren(cannotRun());

// Starts the page: which view is shown, when a room is opened, when the service worker comes.

import "./styles/base.css";
import "./styles/layout.css";
import "./styles/parts.css";
import { el } from "./ui/dom.js";
import { provider } from "./ui/provider.js";
import { RoomClient } from "./ui/room.js";
import { Site } from "./ui/site.js";
import { installOffline } from "./ui/offline.js";
import { DigitsView } from "./views/digits.js";

const TITLES: Readonly<Record<string, string>> = { digits: "Digits of your hand" };

interface View {
  readonly element: HTMLElement;
  /** Its room, where it has one. */
  readonly room: RoomClient | null;
}

function start(): void {
  const main = document.querySelector("main");
  if (main === null) return;
  if (typeof WebAssembly !== "object" || typeof Worker !== "function") {
    main.replaceChildren(
      el(
        "div",
        { class: "notice", role: "alert", "data-testid": "no-wasm" },
        el(
          "div",
          {},
          el("strong", {}, "This browser cannot run the network."),
          "The page needs WebAssembly and workers, which this browser lacks or has switched off. A current browser has them.",
        ),
      ),
    );
    return;
  }
  const site = new Site();
  const rooms = { digits: new RoomClient("digits", site) };
  const views: Readonly<Record<string, View>> = {
    digits: { element: new DigitsView(rooms.digits).element, room: rooms.digits },
  };
  const show = async (): Promise<void> => {
    const name = location.hash.slice(1) in views ? location.hash.slice(1) : "digits";
    const view = views[name];
    if (view === undefined) return;
    main.replaceChildren(view.element);
    document.title = `${TITLES[name] ?? ""} · A page that learns`;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    await view.room?.open(provider());
  };
  addEventListener("hashchange", () => void show().then(() => main.focus()));
  void show().then(() => installOffline());
}

start();

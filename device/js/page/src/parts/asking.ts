// A canvas whose drawing is asked about while it is drawn, and again when another version answers.

import type { Answer, Drawing, Overview } from "../shared/messages.js";
import { PAUSE_MS } from "../shared/settings.js";
import { Latest } from "../site/latest.js";
import type { RoomClient } from "../site/room.js";
import { wordsFor } from "../site/words.js";
import { PadCard } from "./pad-card.js";
import { Pad } from "./pad.js";
import { isDrawn } from "./sketch.js";

export interface AskingEvents {
  /** Whether nothing is asked now, as while a shape is taught. */
  readonly silent?: () => boolean;
  /** After a pause without a stroke. */
  readonly onPause: () => void;
  /** The answer is another one, or the room has changed. */
  readonly onShow: () => void;
}

export class Asking {
  readonly card: PadCard;
  readonly pad: Pad;
  answer: Answer | null = null;
  private readonly recognise: Latest<Drawing, Answer>;
  private asked: Overview | null = null; // as it was when it was asked

  constructor(
    private readonly room: RoomClient,
    hint: string,
    private readonly events: AskingEvents,
  ) {
    this.card = new PadCard(hint, `${room.name}-canvas`);
    this.recognise = new Latest(
      (drawing) => room.site.assistant.ask(room.name, "recognise", { drawing }),
      (answer) => this.heard(answer),
      (error) => this.card.say(wordsFor(error).title),
    );
    this.pad = new Pad(
      this.card.canvas,
      {
        onBegin: () => this.card.begun(),
        onDrawing: (drawing) => (this.silent ? undefined : this.recognise.put(drawing)),
        onPause: events.onPause,
      },
      PAUSE_MS,
    );
    this.card.onClear(() => this.clear());
    room.onChange(() => this.changed());
  }

  /** What is on the canvas; null where too little is, which is said, or `first` where nothing is. */
  drawn(first: string): Drawing | null {
    const { drawing, empty } = this.pad;
    if (isDrawn(drawing)) return drawing;
    this.card.say(empty ? first : "That is too small to see. Draw it larger.");
    return null;
  }

  clear(): void {
    this.recognise.drop();
    this.pad.clear();
    this.card.cleared();
    this.answer = null;
    this.events.onShow();
  }

  /** Back on the canvas, since it could not be stored. */
  restore(drawing: Drawing): void {
    this.card.begun();
    this.pad.restore(drawing);
  }

  private get silent(): boolean {
    return this.events.silent?.() ?? false;
  }

  private changed(): void {
    const { overview, busy } = this.room;
    if (!busy && overview !== this.asked) {
      this.asked = overview;
      const { drawing } = this.pad;
      if (this.answer !== null && isDrawn(drawing) && !this.silent) this.recognise.put(drawing);
    }
    this.events.onShow();
  }

  private heard(answer: Answer): void {
    this.answer = answer;
    this.card.see(answer.image, answer.milliseconds);
    this.events.onShow();
  }
}

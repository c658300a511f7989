// The canvas to draw on: finger, mouse or pen, with pressure where there is one. A finger that leaves it goes on drawing until it
// is lifted, since the canvas holds on to the pointer; what lies outside is not part of the drawing.

import type { PenPoint } from "../../../src/strokes/strokes.js";
import type { Drawing } from "../shared/messages.js";

const PEN = 10; // CSS pixels of the line at full pressure, on a canvas of 400
const THIN = 0.45; // of it at no pressure
const MOST_POINTS = 4000; // of a drawing: more is scribbling, and is not taken in

export interface PadEvents {
  /** While something is drawn, at most once a frame. */
  readonly onDrawing: (drawing: Drawing) => void;
  /** After a pause without a stroke. */
  readonly onPause?: (drawing: Drawing) => void;
  /** A new drawing begins. */
  readonly onBegin?: () => void;
}

export class Pad {
  private strokes: PenPoint[][] = [];
  private pointer: number | null = null; // that draws; others are palms
  private width = 0; // of the canvas, that the points are on
  private frame = 0;
  private timer = 0;
  private over = false; // the next stroke begins a new drawing
  private readonly brush: CanvasRenderingContext2D | null;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly events: PadEvents,
    private readonly pauseMs: number,
  ) {
    this.brush = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"] as const) {
      canvas.addEventListener(end, (event) => this.up(event));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  get drawing(): Drawing {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return { strokes: this.strokes.map((stroke) => [...stroke]), width, height };
  }

  get empty(): boolean {
    return this.strokes.length === 0;
  }

  /** The drawing stays to be seen; the next stroke begins another. */
  finish(): void {
    window.clearTimeout(this.timer);
    this.over = true;
    this.canvas.classList.add("over");
    this.redraw();
  }

  clear(): void {
    window.clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.strokes = [];
    this.pointer = null;
    this.over = false;
    this.canvas.classList.remove("over");
    this.redraw();
  }

  /** Puts a drawing that was taken back on the canvas, finished. */
  restore({ strokes }: Drawing): void {
    this.strokes = strokes.map((stroke) => [...stroke]);
    this.finish();
    this.inked();
  }

  private down(event: PointerEvent): void {
    if (this.pointer !== null || (event.pointerType === "mouse" && event.button !== 0)) return;
    event.preventDefault();
    window.clearTimeout(this.timer);
    if (this.over || this.empty) {
      this.clear();
      this.events.onBegin?.();
    }
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.pointOf(event)]);
    this.inked();
  }

  private move(event: PointerEvent): void {
    if (event.pointerId !== this.pointer) return;
    if (this.strokes.reduce((all, { length }) => all + length, 0) > MOST_POINTS) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.strokes.at(-1)?.push(...(all.length ? all : [event]).map((one) => this.pointOf(one)));
    this.inked();
  }

  private up(event: PointerEvent): void {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    const { onPause } = this.events;
    if (onPause !== undefined) this.timer = window.setTimeout(() => onPause(this.drawing), this.pauseMs);
  }

  private pointOf({ clientX, clientY, pressure, pointerType }: PointerEvent): PenPoint {
    const { left, top } = this.canvas.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top, pressure: pointerType === "mouse" ? 0.5 : pressure || 0.5 };
  }

  private inked(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.redraw();
      this.events.onDrawing(this.drawing);
    });
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return; // the view is not shown
    this.scaleTo(clientWidth);
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * scale);
    this.canvas.height = Math.round(clientHeight * scale);
    this.redraw();
  }

  /** What is drawn stays where it was on a canvas that grows or shrinks, as when a phone is turned. */
  private scaleTo(width: number): void {
    const by = width / (this.width || width);
    this.width = width;
    if (by === 1) return;
    this.strokes = this.strokes.map((stroke) => stroke.map((one) => ({ ...one, x: one.x * by, y: one.y * by })));
  }

  private redraw(): void {
    const { brush, canvas } = this;
    if (brush === null) return;
    const scale = canvas.width / Math.max(1, canvas.clientWidth);
    brush.setTransform(scale, 0, 0, scale, 0, 0);
    brush.clearRect(0, 0, canvas.width, canvas.height);
    brush.strokeStyle = brush.fillStyle = getComputedStyle(canvas).color;
    brush.lineCap = brush.lineJoin = "round";
    const pen = (PEN * canvas.clientWidth) / 400;
    for (const stroke of this.strokes) line(brush, stroke, pen);
  }
}

/** Straight from point to point, as wide as the pressure there. */
function line(brush: CanvasRenderingContext2D, stroke: readonly PenPoint[], pen: number): void {
  stroke.forEach((to, place) => {
    const from = stroke[Math.max(0, place - 1)] ?? to;
    brush.lineWidth = pen * (THIN + (1 - THIN) * (to.pressure ?? 0.5)) * 1.3;
    brush.beginPath();
    brush.moveTo(from.x, from.y);
    brush.lineTo(to.x, to.y + (place === 0 ? 0.01 : 0));
    brush.stroke();
  });
}

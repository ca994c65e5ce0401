// The photos of this visit: sent one after the other, again where that may help, and drawn one at a time.

import { HeatMap } from "./heat.js";
import { inspect, overlay, Problem } from "./service.js";
import { Picture } from "./viewer.js";
import * as words from "./words.js";

/** How often a photo is sent again by itself while the service is busy. */
const MOST_REPEATS = 5;

/** Bytes above which a broken upload may have been refused for its size. */
const LARGE = 20 * 1024 * 1024;

/**
 * Each photo: file, name, state (waiting, sending, done, failed, cancelled), sent (its share),
 * problem, repeats and seconds until the next one; then prediction, heat, threshold, drawn (the picture
 * by the service, where the browser cannot draw the file), marked (a tile), seen (see prediction.js).
 * Only the chosen one has a picture: decoded photographs are large.
 */
export class Photos {
  all = [];
  chosen = null; // the one that is shown
  #sending = null; // the one that is under way, and how to stop it

  /** told: changed, progressed, counted and arrived, each with a photo. scale: mm a pixel, or null. */
  constructor(told, scale) {
    this.told = told;
    this.scale = scale;
  }

  add(files) {
    const added = [...files].map((file) => ({
      file, name: file.name || "pasted photo.png", state: "waiting", repeats: 0, picture: null,
    }));
    if (!added.length) return;
    this.all.push(...added);
    this.choose(added[0]);
    this.#work();
  }

  choose(photo) {
    const { chosen } = this;
    if (chosen && chosen !== photo && chosen !== this.#sending?.photo) release(chosen);
    this.chosen = photo;
    this.told.changed(photo);
    if (photo.state === "done" && !photo.picture) this.#decodeAgain(photo);
  }

  /** Send a photo once more. */
  repeat(photo) {
    this.giveUp(photo);
    Object.assign(photo, { state: "waiting", problem: null });
    this.told.changed(photo);
    this.#work();
  }

  /** Do not send a photo again by itself. */
  giveUp(photo) {
    clearInterval(photo.timer);
    photo.seconds = 0;
  }

  /** Take the chosen photo back. */
  cancel() {
    if (this.#sending?.photo === this.chosen) this.#sending.stop.abort();
    else this.chosen.state = "cancelled";
    this.told.changed(this.chosen);
  }

  async #work() {
    if (this.#sending) return;
    const photo = this.all.find(({ state }) => state === "waiting");
    if (!photo) return;
    const stop = new AbortController();
    this.#sending = { photo, stop };
    Object.assign(photo, { state: "sending", sent: 0, problem: null });
    this.told.changed(photo);
    try {
      await this.#ask(photo, stop.signal);
      photo.state = "done";
    } catch (problem) {
      this.#fail(photo, problem);
    }
    this.#sending = null;
    if (photo !== this.chosen) release(photo);
    this.told.changed(photo);
    if (photo.state === "done") this.told.arrived(photo);
    this.#work();
  }

  async #ask(photo, signal) {
    const decoding = Picture.decode(photo.file).catch(() => null);
    decoding.then((picture) => {
      photo.picture = picture;
      this.told.changed(photo);
    });
    const onProgress = (share) => {
      photo.sent = share;
      this.told.progressed(photo);
    };
    const mmPerPixel = this.scale();
    photo.prediction = await inspect(photo.file, { mmPerPixel, onProgress, signal });
    if (!(await decoding)?.shows(photo.prediction)) {
      // A format that browsers cannot draw, as TIFF: the service can.
      photo.drawn = await overlay(photo.file, { mmPerPixel, signal });
      photo.picture = await Picture.decode(photo.drawn);
    }
    photo.threshold = photo.prediction.threshold;
    photo.heat = new HeatMap(photo.prediction);
  }

  #fail(photo, problem) {
    if (problem.name === "AbortError") {
      photo.state = "cancelled";
      return;
    }
    photo.state = "failed";
    photo.problem = problem instanceof Problem ? problem : new Problem(-1, { detail: String(problem) });
    if (problem.status === 429 && photo.repeats < MOST_REPEATS) this.#repeatSoon(photo);
    if (problem.status === 0 && photo.sent < 1 && photo.file.size > LARGE) {
      const megabytes = words.whole(photo.file.size / 1024 ** 2);
      photo.problem.advice += ` The photo has ${megabytes} MB; it may be larger than the service takes.`;
    }
  }

  #repeatSoon(photo) {
    photo.repeats += 1;
    photo.seconds = Math.max(1, photo.problem.retryAfter ?? 5);
    photo.timer = setInterval(() => {
      photo.seconds -= 1;
      if (photo.seconds <= 0) this.repeat(photo);
      else this.told.counted(photo);
    }, 1000);
  }

  async #decodeAgain(photo) {
    const picture = await Picture.decode(photo.drawn ?? photo.file).catch(() => null);
    if (!picture) {
      const detail = "The file cannot be read any more. Choose it again.";
      Object.assign(photo, { state: "failed", problem: new Problem(-1, { detail }) });
    } else if (photo.picture || photo !== this.chosen) {
      picture.free(); // another one was chosen in the meantime
      return;
    } else {
      photo.picture = picture;
    }
    this.told.changed(photo);
  }
}

function release(photo) {
  photo.picture?.free();
  photo.picture = null;
}

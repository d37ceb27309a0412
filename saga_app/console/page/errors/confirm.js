// The confirmation dialog for a redrive or rollback: how many messages, at what rate, in whose name.

import { api } from "../core/api.js";
import { $, h, show, text } from "../core/dom.js";
import { isFocusLost } from "../core/focus.js";
import { duration, number, plural } from "../core/format.js";
import { because, by, nothingSent, signature, signed } from "../core/operator.js";
import { complaint } from "../core/problem_box.js";
import { isQuick, sendAll } from "./batches.js";

/** @import { Problem } from "../core/api.js" */

/**
 * What to confirm. `title(count)`: the question; `filter`: for many, counted first, or `ids` for one, named `what`.
 * @typedef {object} Wanted
 * @property {Intent} intent
 * @property {(count: number) => string} title
 * @property {ErrorFilter} [filter]
 * @property {string[]} [ids]
 * @property {string} [what]
 */

/** @typedef {"closed" | "counting" | "nothing" | "asking" | "working" | "stopping" | "broken"} State of the dialog */

/** Messages per second. The suggested rate is low enough for services that have just recovered. */
const SUGGESTED = 20;
const FASTEST = 500;
const SLOWEST = 1;

/** @type {Record<Intent, { verb: string, done: (count: number) => string, noun: string, says: string }>} */
export const VERBS = {
  redrive: {
    verb: "Redrive",
    done: () => "redriven",
    noun: "message",
    says: "Each message is sent to its step again. Messages that fail permanently again are parked again.",
  },
  rollback: {
    verb: "Roll back",
    done: (count) => `${count === 1 ? "is" : "are"} being rolled back`,
    noun: "saga",
    says: "Completed steps are compensated, newest first. A rollback cannot be reversed.",
  },
};

/** "143 messages" @param {Intent} intent @param {number} count */
export const howMany = (intent, count) => plural(count, VERBS[intent].noun);

/** @param {number} seconds */
const about = (seconds) =>
  seconds < 1.5 ? "about a second" : `about ${seconds < 100 ? `${Math.ceil(seconds)} s` : duration(seconds)}`;

class Dialog {
  /** Replaced by `open()`. @type {Wanted} */
  wanted = { intent: "redrive", title: () => "" };
  /** @type {State} */
  state = "closed";
  /** The element that had the focus before. @type {HTMLElement | null} */
  opener = null;
  /** The result of `open()`. @type {string | null} */
  answer = null;
  /** @type {(answer: string | null) => void} */
  resolve = () => {};
  count = 0;
  sentBefore = 0;
  /** Whether an earlier request in this dialog has an unknown outcome. */
  isRepeat = false;
  words = "";

  constructor() {
    this.title = h("h2", { id: "ask-title", tabindex: "-1" });
    this.says = h("p", { id: "ask-says" });
    this.rate = h("input", { type: "number", min: SLOWEST, max: FASTEST, step: "any", required: true });
    this.takes = h("span", { class: "hint" });
    this.pace = h("label", { class: "pace" }, h("span", {}, "Messages per second"), this.rate, this.takes);
    this.fields = h("div", { class: "fields" }, this.pace, signature());
    this.bar = h("progress", { "aria-label": "Sent" });
    this.sent = h("p", { class: "sent", role: "status" });
    this.broken = h("div", { class: "broken", role: "alert", hidden: true });
    this.no = h("button", { type: "button", onclick: () => this.leave() });
    this.yes = h("button", { type: "submit" });
    this.form = h(
      "form",
      { method: "dialog" },
      this.title,
      this.says,
      this.fields,
      this.bar,
      this.sent,
      this.broken,
      h("div", { class: "buttons" }, this.no, this.yes),
    );
    const described = { "aria-labelledby": "ask-title", "aria-describedby": "ask-says" };
    this.element = h("dialog", { class: "ask", ...described }, this.form);
    this.element.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.leave();
    });
    this.element.addEventListener("close", () => this.#end());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go();
    });
    this.element.addEventListener("keydown", (event) => event.key === "Tab" && this.#wrapFocus(event));
    this.rate.addEventListener("input", () => this.#estimate());
    document.body.append(this.element);
  }

  /** Show the dialog; see `ask()`. @param {Wanted} wanted @returns {Promise<string | null>} */
  open(wanted) {
    if (this.state === "stopping") return Promise.resolve("The previous action has not stopped yet.");
    this.wanted = wanted;
    this.opener = /** @type {HTMLElement | null} */ (document.activeElement);
    this.state = "asking";
    this.answer = null;
    this.rate.value = String(SUGGESTED);
    this.sentBefore = 0;
    this.isRepeat = false;
    this.yes.className = wanted.intent === "rollback" ? "grave" : "primary";
    text(this.sent, "");
    show(this.broken, false);
    this.element.showModal();
    if (wanted.filter) this.#count();
    else this.#ask(1);
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  async #count() {
    const { intent, filter } = this.wanted;
    this.#look("counting", "Counting…", "");
    try {
      const { count, left_out: reasons } = await api.intervene(intent, { filter, dry_run: true });
      if (this.state !== "counting") return;
      if (count > 0) this.#ask(count, reasons && `Left out: ${because(reasons)}.`);
      else this.#look("nothing", `Nothing to ${VERBS[intent].verb.toLowerCase()}`, `${because(reasons)}.`);
    } catch (problem) {
      if (this.state === "counting") this.#fail(/** @type {Problem} */ (problem), "counting");
    }
  }

  /** @param {number} count */
  #ask(count, leftOut = "") {
    const { intent, title } = this.wanted;
    this.count = count;
    this.words = `${VERBS[intent].says} ${leftOut}`;
    this.#look("asking", title(count), this.words);
    show(this.pace, count > 1);
    text(this.yes, count > 1 ? `${VERBS[intent].verb} ${number(count)}` : VERBS[intent].verb);
    this.#estimate();
    this.no.focus(); // so that Enter does not confirm by accident
  }

  /** @param {State} state @param {string} title @param {string} says */
  #look(state, title, says) {
    this.state = state;
    text(this.title, title);
    text(this.says, says);
    show(this.says, says !== "");
    show(this.fields, state === "asking" || state === "broken");
    show(this.yes, state === "asking" || state === "broken");
    show(this.bar, state === "counting" || state === "working");
    text(this.no, state === "working" ? "Stop" : state === "nothing" ? "Close" : "Cancel");
    this.no.removeAttribute("aria-disabled");
    if (state === "counting") this.bar.removeAttribute("value");
    if (state !== "asking") this.no.focus();
  }

  #estimate() {
    const seconds = this.count / this.rate.valueAsNumber;
    const { valid } = this.rate.validity;
    const keepOpen = valid && !isQuick(this.count, this.rate.valueAsNumber) ? "; keep this page open" : "";
    text(this.takes, valid ? `${about(seconds)}${keepOpen}` : `${SLOWEST} to ${FASTEST}`);
    this.rate.setAttribute("aria-invalid", String(!valid));
  }

  /** Keep the focus in the dialog: Tab on the last control moves to the first. @param {KeyboardEvent} event */
  #wrapFocus(event) {
    const elements = /** @type {HTMLElement[]} */ ([...this.form.elements]);
    const controls = elements.filter((each) => each.checkVisibility());
    const [from, to] = event.shiftKey ? [controls[0], controls.at(-1)] : [controls.at(-1), controls[0]];
    if (document.activeElement !== from) return;
    event.preventDefault();
    to?.focus();
  }

  async #go() {
    if (this.state !== "asking" && this.state !== "broken") return;
    const { intent, ids, filter, title } = this.wanted;
    const [count, rate] = [this.count, this.rate.valueAsNumber];
    show(this.broken, false);
    this.#look("working", title(count).replace(/\?$/, "…"), "");
    this.#progress(this.sentBefore);
    if (!filter || isQuick(count, rate)) this.bar.removeAttribute("value");
    const before = this.sentBefore;
    const on = {
      /** @param {number} sent */
      sent: (sent) => this.#progress(before + sent),
      stopped: () => this.state !== "working",
    };
    try {
      const sent = filter
        ? await sendAll(intent, { filter, count, rate }, on)
        : await api.intervene(intent, { ids, ...by() });
      this.answer = this.#said({ ...sent, count: before + sent.count }, on.stopped());
      this.#close();
    } catch (problem) {
      this.#fail(/** @type {Problem} */ (problem), "working");
    }
  }

  /** @param {number} sent */
  #progress(sent) {
    this.sentBefore = sent;
    this.bar.max = this.count;
    this.bar.value = sent;
    text(this.sent, sent ? `${number(sent)} of ${number(this.count)} sent` : "Sending…");
  }

  /** The sentence that the view shows after the dialog has closed. @param {Applied} applied @param {boolean} stopped */
  #said({ count, left_out: reasons }, stopped) {
    const { intent, filter, what } = this.wanted;
    if (count === 0) return stopped ? "Stopped: nothing was sent." : nothingSent(reasons, this.isRepeat);
    const done = `${what ?? howMany(intent, count)} ${VERBS[intent].done(count)}${signed()}.`;
    const leftOut = Object.keys(reasons ?? {}).length ? ` Left out: ${because(reasons)}.` : "";
    const others = this.isRepeat && filter ? " The request without a response may have sent others." : "";
    return `${stopped ? "Stopped. " : ""}${done}${leftOut}${others}`;
  }

  /** @param {Problem} problem @param {"counting" | "working"} during */
  #fail(problem, during) {
    if (!this.element.open) {
      this.answer = problem.message;
      return this.#close();
    }
    if (during === "counting") this.#look("nothing", "Counting failed", "");
    else this.#look("broken", this.wanted.title(this.count), this.words);
    this.isRepeat ||= problem.isUnknown;
    if (problem.isUnknown) text(this.yes, "Retry");
    this.broken.replaceChildren(...complaint(problem));
    show(this.broken, true);
    (during === "working" ? this.yes : this.no).focus();
  }

  /** Cancel or Esc: close; while batches are being sent, stop after the current one. */
  leave() {
    if (this.state === "stopping") return;
    if (this.state !== "working") return this.#close();
    this.state = "stopping";
    this.no.setAttribute("aria-disabled", "true");
    text(this.sent, "Stopping…");
  }

  #close() {
    this.state = "closed";
    if (this.element.open) this.element.close();
    else this.#end();
  }

  /** The dialog has closed. A browser can force this during a request: then stop after the current batch. */
  #end() {
    if (this.state !== "closed") {
      this.state = "stopping";
      return;
    }
    if (this.opener?.isConnected) this.opener.focus({ preventScroll: true });
    if (isFocusLost()) $("#main").focus();
    this.resolve(this.answer);
  }
}

/** @type {Dialog | null} */
let dialog = null;

/**
 * Ask for confirmation, then send the redrive or rollback.
 * @param {Wanted} wanted @returns {Promise<string | null>} a sentence with the outcome, null if cancelled
 */
export function ask(wanted) {
  dialog ??= new Dialog();
  return dialog.open(wanted);
}

/** Whether the dialog is open; keyboard shortcuts are off then. */
export const isAsking = () => dialog?.element.open ?? false;

// The dialog before something is done that is not undone by another press: how many it concerns, how fast, by whom.

import { api } from "../core/api.js";
import { h, show, text } from "../core/dom.js";
import { isFocusLost } from "../core/focus.js";
import { duration, number, plural } from "../core/format.js";
import { because, by, nothingSent, signature, signed } from "../core/operator.js";
import { complaint } from "../core/problem_box.js";
import { isQuick, sendAll } from "./batches.js";

/** Messages a second: what is suggested is a rate that a world that has just recovered can bear; and the limits. */
const SUGGESTED = 20;
const FASTEST = 500;
const SLOWEST = 1;

export const VERBS = {
  redrive: {
    verb: "Redrive",
    done: () => "redriven",
    noun: "message",
    says: "Each is sent to its step again. Messages that fail permanently again return here.",
  },
  rollback: {
    verb: "Roll back",
    done: (count) => `${count === 1 ? "is" : "are"} being rolled back`,
    noun: "saga",
    says: "Completed steps are undone, newest first; a mail that was sent is followed by a second one. This is final.",
  },
};

/** How many, in words: "143 messages". */
export const howMany = (intent, count) => plural(count, VERBS[intent].noun);

const about = (seconds) =>
  seconds < 1.5 ? "about a second" : `about ${seconds < 100 ? `${Math.ceil(seconds)} s` : duration(seconds)}`;

class Dialog {
  constructor() {
    this.title = h("h2", { id: "ask-title", tabindex: "-1" });
    this.says = h("p", { id: "ask-says" });
    this.rate = h("input", { type: "number", min: SLOWEST, max: FASTEST, step: "any", required: true });
    this.takes = h("span", { class: "hint" });
    this.pace = h("label", { class: "pace" }, h("span", {}, "Messages a second"), this.rate, this.takes);
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
    this.element.addEventListener("keydown", (event) => event.key === "Tab" && this.#turnRound(event));
    this.rate.addEventListener("input", () => this.#estimate());
    document.body.append(this.element);
  }

  /** Answers what was done, in a sentence, or null. */
  open(wanted) {
    if (this.state === "stopping") return Promise.resolve("The one before is still being stopped.");
    this.wanted = wanted;
    this.opener = document.activeElement;
    this.state = "asking";
    this.answer = null;
    this.rate.value = SUGGESTED;
    this.sentBefore = 0;
    this.isRepeat = false;
    this.yes.className = wanted.intent === "rollback" ? "grave" : "primary";
    text(this.sent, "");
    show(this.broken, false);
    this.element.showModal();
    if (wanted.filter) this.#count();
    else this.#ask(1);
    return new Promise((resolve) => (this.resolve = resolve));
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
      if (this.state === "counting") this.#fail(problem, "counting");
    }
  }

  #ask(count, leftOut = "") {
    const { intent, title } = this.wanted;
    this.count = count;
    this.words = `${VERBS[intent].says} ${leftOut}`;
    this.#look("asking", title(count), this.words);
    show(this.pace, count > 1);
    text(this.yes, count > 1 ? `${VERBS[intent].verb} ${number(count)}` : VERBS[intent].verb);
    this.#estimate();
    this.no.focus(); // what concerns many is not one careless Enter away
  }

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

  /** From the last control to the first, and back: the focus stays in the dialog. */
  #turnRound(event) {
    const controls = [...this.form.elements].filter((each) => each.checkVisibility());
    const [from, to] = event.shiftKey ? [controls[0], controls.at(-1)] : [controls.at(-1), controls[0]];
    if (document.activeElement !== from) return;
    event.preventDefault();
    to.focus();
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
    const on = { sent: (sent) => this.#progress(before + sent), stopped: () => this.state !== "working" };
    try {
      const sent = filter
        ? await sendAll(intent, { filter, count, rate }, on)
        : await api.intervene(intent, { ids, ...by() });
      this.answer = this.#said({ ...sent, count: before + sent.count }, this.state !== "working");
      this.#close();
    } catch (problem) {
      this.#fail(problem, "working");
    }
  }

  #progress(sent) {
    this.sentBefore = sent;
    this.bar.max = this.count;
    this.bar.value = sent;
    text(this.sent, sent ? `${number(sent)} of ${number(this.count)} sent` : "Sending…");
  }

  /** Said by the view when the dialog is gone. */
  #said({ count, left_out: reasons }, stopped) {
    const { intent, filter, what } = this.wanted;
    if (count === 0) return stopped ? "Stopped: nothing was sent." : nothingSent(reasons, this.isRepeat);
    const done = `${what ?? howMany(intent, count)} ${VERBS[intent].done(count)} ${signed()}.`;
    const leftOut = Object.keys(reasons ?? {}).length ? ` Left out: ${because(reasons)}.` : "";
    const others = this.isRepeat && filter ? " The request without an answer may have sent others." : "";
    return `${stopped ? "Stopped. " : ""}${done}${leftOut}${others}`;
  }

  #fail(problem, during) {
    if (!this.element.open) {
      this.answer = problem.message;
      return this.#close();
    }
    if (during === "counting") this.#look("nothing", "That could not be counted", "");
    else this.#look("broken", this.wanted.title(this.count), this.words);
    this.isRepeat ||= problem.isUnknown;
    if (problem.isUnknown) text(this.yes, "Retry");
    this.broken.replaceChildren(...complaint(problem));
    show(this.broken, true);
    (during === "working" ? this.yes : this.no).focus();
  }

  /** Cancel, Esc: while it works, stop after the portion that is under way. */
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

  /** Closed by us; or, while it works, by a browser that insists: then its end is awaited. */
  #end() {
    if (this.state !== "closed") return void (this.state = "stopping");
    if (this.opener?.isConnected) this.opener.focus({ preventScroll: true });
    if (isFocusLost()) document.querySelector("#main").focus();
    this.resolve(this.answer);
  }
}

let dialog = null;

/**
 * Ask, and do it: `intent` is redrive or rollback; `title(count)` the question; `filter` for many, which are counted
 * first, or `ids` for one, whose name is `what`. Answers a sentence that says what was done, or null.
 */
export function ask(wanted) {
  dialog ??= new Dialog();
  return dialog.open(wanted);
}

/** Whether it is there: then keys are for it alone. */
export const isAsking = () => dialog?.element.open ?? false;

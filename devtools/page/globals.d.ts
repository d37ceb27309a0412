/** Global types for the page's JSDoc: the payloads of the console's HTTP API, and types that several files share. */

import type { components } from "./api";

type Schemas = components["schemas"];

declare global {
  type Saga = Schemas["Saga"];
  type SagaPage = Schemas["SagaPage"];
  type SagaNow = Schemas["SagaNow"];
  type Visit = Schemas["Visit"];
  type Trouble = Schemas["Trouble"];
  type Stats = Schemas["Stats"];
  type Timeline = Schemas["Timeline"];
  type TraceEntry = Schemas["TraceEntry"];
  type DeadLetterItem = Schemas["DeadLetterItem"];
  type DeadLetterGroup = Schemas["DeadLetterGroup"];
  type DeadLetterWhole = Schemas["DeadLetterWhole"];
  type DeadLetterPage = Schemas["DeadLetterPage"];
  type ProblemBody = Schemas["ProblemBody"];
  type Accepted = Schemas["Accepted"];
  type AcceptedList = Schemas["AcceptedList"];
  type Plan = Schemas["PlanView"];
  type PlanStep = Schemas["PlanStep"];
  type PlanCompensation = Schemas["PlanCompensation"];

  type ErrorFilter = Partial<Schemas["ErrorFilter"]>;

  /** One page of a list; `next` is the cursor of the following page. */
  type Page<Item> = { items: Item[]; next: string | null; total: number };

  /** Query parameters of a GET; "", null and undefined are left out. */
  type QueryValues = Record<string, string | number | boolean | null | undefined>;

  /** One rejected input field: `line` of a CSV file or `index` in a JSON array. */
  type InputError = { index?: number; line?: number; field?: string; message: string };

  /** The body of a redrive or rollback; `rate` is messages per second. */
  type Intervention = { ids?: string[]; filter?: ErrorFilter; dry_run?: boolean; by?: string; rate?: number };

  /** A request for new users: JSON text or the bytes of a CSV file, with its idempotency key. */
  type NewUsersRequest = { body: string | ArrayBuffer | null; type: string; key: string };

  /** The payload of a `step` event: the record just read, and the saga as it is now. */
  type StepEvent = { entry: TraceEntry | null; saga: Saga | null };

  /** The connection to the event stream; times in ms since 1970. */
  type Connection = { state: "loading" | "live" | "lost"; since: number; nextTry: number };

  /** A part of the store, as named in change notifications; "loaded": the store was reloaded from the server. */
  type StorePart = "trace" | "travellers" | "arrivals" | "department" | "connection" | "stats" | "loaded";

  /** A step of the plan that finds out a fact. */
  type FactStep = PlanStep & { fact: string };

  type Meaning = "working" | "done" | "trouble" | "undone";
  type StateLook = { label: string; icon: string; meaning: Meaning };

  /** A tab of the page. `ids()`: the saga ids in the order shown, for the arrow keys of the drawer. */
  type View = { element: HTMLElement; shown(query: URLSearchParams): void; hidden(): void; ids(): string[] };

  /** What `h()` accepts as a child; null, undefined and false are left out. */
  type Child = Node | string | number | false | null | undefined;

  /** Attributes for `h()`; functions are event handlers. */
  type Attributes = {
    onclick?: ((event: MouseEvent) => unknown) | null;
    [name: string]: string | number | boolean | null | undefined | ((event: never) => unknown);
  };

  /** Elements of index.html that are more specific than `HTMLElement`, by the selector passed to `$()`. */
  interface PageElements {
    "#csv-file": HTMLInputElement;
    "#department": HTMLSelectElement;
    "#new-user": HTMLButtonElement;
    "#search": HTMLInputElement;
    "#user-form": HTMLFormElement;
  }

  /** A failed attempt of the step under way, from the event stream. */
  type FailedAttempt = Pick<TraceEntry, "step" | "attempt" | "at"> & Partial<Trouble>;

  /** A saga on the Live view. `leavesAt`: when it moves to the arrivals (`performance.now()` ms), 0 while it runs. */
  type Traveller = { row: Saga; signals: FailedAttempt[]; leavesAt: number };

  /** Why a change sent to `/api/errors` did not apply to some of its targets: reason -> count. */
  type LeftOut = Record<string, number>;

  /** The answer to a redrive or rollback; without `left_out` it applied to all. */
  type Applied = { count: number; dry_run?: boolean; left_out?: LeftOut };

  type Intent = "redrive" | "rollback";
}

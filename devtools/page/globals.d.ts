/** Names for the payloads of the console's HTTP interface, so that the page's JSDoc can use them without imports. */

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

  /** A failed attempt of the step under way, from the event stream. */
  type FailedAttempt = Pick<TraceEntry, "step" | "attempt" | "at"> & Partial<Trouble>;

  /** A saga on the Live view. `leavesAt`: when it moves to the arrivals (ms of `performance.now()`), 0 while it runs. */
  type Traveller = { row: Saga; signals: FailedAttempt[]; leavesAt: number };

  /** Why a change sent to `/api/errors` did not apply to some of its targets: reason -> count. */
  type LeftOut = Record<string, number>;

  /** The answer to a redrive or rollback; without `left_out` it applied to all. */
  type Applied = { count: number; dry_run?: boolean; left_out?: LeftOut };

  type Intent = "redrive" | "rollback";
}

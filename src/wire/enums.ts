import { ALARMS, type AlarmKind } from "../domain/alarm.ts";
import { REASONS, type Reason } from "../domain/reason.ts";
import { VERDICTS, type Verdict } from "../domain/receipt.ts";
import {
  CONDITION_TYPES,
  type ConditionType,
  DESIRES,
  type Desire,
  STATES,
  type State,
} from "../domain/transition.ts";
import type {
  AlarmKind as WireAlarm,
  ConditionType as WireCondition,
  Desire as WireDesire,
  Reason as WireReason,
  OrganismState as WireState,
  Verdict as WireVerdict,
} from "../gen/dragons/v1/artifacts_pb.ts";

/**
 * Closed lists on the wire and in the domain: the index is the wire value, a test holds them equal.
 * From outside any number may come; one that is not in the list is null.
 */
export const reasonToWire = (reason: Reason) => REASONS.indexOf(reason) as WireReason;
export const stateToWire = (state: State) => STATES.indexOf(state) as WireState;
export const desireToWire = (desire: Desire) => DESIRES.indexOf(desire) as WireDesire;
export const conditionToWire = (type: ConditionType) =>
  CONDITION_TYPES.indexOf(type) as WireCondition;

export const alarmToWire = (kind: AlarmKind) => ALARMS.indexOf(kind) as WireAlarm;

export const stateFromWire = (state: WireState): State | null => STATES[state] ?? null;
export const verdictFromWire = (verdict: WireVerdict): Verdict | null => VERDICTS[verdict] ?? null;
export const conditionFromWire = (type: WireCondition): ConditionType | null =>
  CONDITION_TYPES[type] ?? null;

import type { components } from "./api.gen";

// Short names for the words of the API. Everything here is generated from
// openapi.yaml; a field that does not exist there does not compile.
type Schemas = components["schemas"];

export type Status = Schemas["Status"];
export type Health = Status["cluster_health"];
export type Problem = Schemas["StatusProblem"];
export type Member = Schemas["Member"];
export type State = Schemas["State"];
export type ClusterEvent = Schemas["Event"];
export type ConfigKey = Schemas["ConfigKey"];
export type Hello = Schemas["WatchHello"];
export type Snapshot = Schemas["WatchSnapshot"];
export type Patch = Schemas["WatchPatch"];
export type Caller = Schemas["Caller"];
export type Session = Schemas["Session"];
export type Document = Schemas["Document"];

// The words of the API, by hand until generated.
export type Health = "HEALTHY" | "DEGRADED" | "UNHEALTHY";

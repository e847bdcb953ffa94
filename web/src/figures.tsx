import type { ComponentChildren } from "preact";
import { Lasting } from "./parts";
import { access, members, nameOf, started, status } from "./state";
import { now, span } from "./time";
import { goneRank, stateLook, storeTone } from "./tone";
import type { Status } from "./types";

/** Figures are the numbers behind the verdict. */
export function Figures() {
  const s = status.value;
  if (!s) return null;
  const full = access.value === "full";
  return (
    <dl class="figures">
      <MemberCount s={s} />
      {full && <Revision s={s} />}
      {full && <Store s={s} />}
      {full && <Tolerance s={s} />}
      {s.leader_id && (full || s.is_leader) && <Figure name="Leader" value={s.is_leader ? s.local_node : nameOf.value(s.leader_id)} note={s.leader_address} />}
      <Figure name="This node" value={s.local_node} note={[s.state, s.version, s.uptime ? "up " + span((now.value - started.value) / 1000) : ""].filter(Boolean).join(" · ")} />
    </dl>
  );
}

interface FigureProps {
  name: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  tone?: string;
  children?: ComponentChildren;
}

const Figure = ({ name, value, note, tone = "plain", children }: FigureProps) => (
  <div class={"figure tone-" + tone}>
    <dt>{name}</dt>
    <dd class="figure-value">{value}</dd>
    {note && <dd class="figure-note">{note}</dd>}
    {children}
  </div>
);

const meterUpTo = 40; // more members are a number, not segments

function MemberCount({ s }: { s: Status }) {
  const size = Math.max(s.cluster_size, s.members);
  const missing = size - s.healthy_members;
  const note = missing > 0 ? `${missing} not healthy` : !s.converged ? "catching up" : size === 1 ? "on its own" : "all serve the same revision";
  return (
    <Figure name="Members healthy" value={<>{s.healthy_members}<span class="of">/{size}</span></>} note={note} tone={missing > 0 ? "warn" : "plain"}>
      {size <= meterUpTo && <dd class="meter" aria-hidden="true">{segments(s, size).map((tone, i) => <i key={i} class={"tone-" + tone} />)}</dd>}
    </Figure>
  );
}

// segments is one tone per member, the best first. Visitors who do not see the
// members see how many are healthy.
function segments(s: Status, size: number): string[] {
  const seen = [...members.value.values()].map(stateLook).filter((look) => look.rank < goneRank);
  const tones: string[] = seen.length
    ? seen.sort((a, b) => b.rank - a.rank).map((look) => look.tone)
    : Array(s.healthy_members).fill("ok");
  return Array.from({ length: size }, (_, i) => tones[i] ?? "quiet");
}

function Revision({ s }: { s: Status }) {
  const behind = s.config?.behind ?? [];
  const note = behind.length ? `behind: ${behind.join(", ")}` : `epoch ${s.config?.epoch ?? 0} · chain ${(s.config?.chain ?? "").slice(0, 8)}`;
  return <Figure name="Revision" value={s.config?.rev ?? "–"} note={note} tone={behind.length ? "warn" : "plain"} />;
}

function Store({ s: { store } }: { s: Status }) {
  if (!store) return null;
  const tone = storeTone(store.state);
  const note = store.state === "fresh" || !store.last_error ? <>{store.state} <Lasting at={store.since} /></> : store.last_error;
  return <Figure name="Store" value={store.kind || "not known yet"} note={note} tone={tone === "ok" ? "plain" : tone} />;
}

function Tolerance({ s }: { s: Status }) {
  const n = s.tolerates ?? 0;
  return <Figure name="Tolerates" value={n === 1 ? "1 loss" : `${n} losses`} note={n ? "before it is unhealthy" : "the next loss is felt"} />;
}

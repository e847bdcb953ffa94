import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { Card, Filter, Lasting, Pill } from "./parts";
import { members, status } from "./state";
import { useSteady } from "./steady";
import { goneRank, stateLook } from "./tone";
import type { Member } from "./types";

const glance = 8; // rows that need no filter
const page = 50;

const gone = (m: Member) => stateLook(m).rank >= goneRank;
const worstFirst = (a: Member, b: Member) =>
  stateLook(a).rank - stateLook(b).rank || a.name.localeCompare(b.name, undefined, { numeric: true });

/** Members lists who is in the cluster, the worst first. */
export function Members() {
  const wanted = useSignal("");
  const showGone = useSignal(false);
  const showAll = useSignal(false);
  const all = [...members.value.values()].sort(worstFirst);
  const present = all.filter((m) => !gone(m));
  const absent = all.length - present.length;
  const listed = (showGone.value ? all : present).filter((m) => matches(m, wanted.value));
  const { rows, moved, hold } = useSteady(listed, (m) => m.id);
  const shown = showAll.value ? rows : rows.slice(0, page);
  return (
    <Card
      title="Members"
      count={present.length}
      path="cluster/members"
      aside={
        <>
          {moved && <span class="chip">order held while you read</span>}
          {all.length > glance && <Filter of="members" value={wanted.value} set={(v) => (wanted.value = v)} />}
        </>
      }
    >
      <table role="table" class="members" {...hold}>
        <Head />
        <tbody role="rowgroup">{shown.map((m) => <Row key={m.id} m={m} />)}</tbody>
      </table>
      {!rows.length && <p class="empty">{wanted.value ? "No member matches the filter." : "No members are known yet."}</p>}
      <footer class="card-foot" hidden={rows.length <= shown.length && !absent}>
        {rows.length > shown.length && <button type="button" class="ghost" onClick={() => (showAll.value = true)}>show all {rows.length}</button>}
        {absent > 0 && (
          <button type="button" class="ghost" aria-pressed={showGone.value} onClick={() => (showGone.value = !showGone.value)}>
            {showGone.value ? "hide" : "show"} {absent} that left
          </button>
        )}
      </footer>
    </Card>
  );
}

const matches = (m: Member, text: string) =>
  [m.name, m.state, m.zone, m.region, m.version, m.endpoint, m.id].some((field) => field.toLowerCase().includes(text.toLowerCase().trim()));

const Head = () => (
  <thead role="rowgroup">
    <tr role="row">
      {["State", "Name", "Endpoint", "Zone", "Version", "RTT", "Revision", "Reason"].map((h) => (
        <th key={h} role="columnheader" scope="col" class={h === "RTT" || h === "Revision" ? "num" : ""}>{h}</th>
      ))}
    </tr>
  </thead>
);

function Row({ m }: { m: Member }) {
  return (
    <tr role="row" class={"tone-" + stateLook(m).tone}>
      <td role="cell" class="cell-state"><Pill look={stateLook(m)} /> <span class="muted nowrap"><Lasting at={m.since} /></span></td>
      <th role="rowheader" scope="row" class="cell-name" title={m.id}>
        <span>{m.name}</span>
        {m.self && <span class="tag">this node</span>}
        {m.role === "observer" && <span class="tag">observer</span>}
        {status.value?.leader_id === m.id && <span class="tag">leader</span>}
      </th>
      <Cell label="Endpoint"><Endpoint url={m.endpoint} /></Cell>
      <Cell label="Zone" class="nowrap">{[m.region, m.zone].filter(Boolean).join(" / ")}</Cell>
      <Cell label="Version" class="nowrap">{m.version}</Cell>
      <Cell label="RTT" class="num nowrap">{m.rtt_ms > 0 && !m.self && m.state !== "dead" && rtt(m.rtt_ms)}</Cell>
      <Cell label="Revision" class="num nowrap"><Applied m={m} /></Cell>
      <Cell label="Reason" class="cell-reason">{m.reason}</Cell>
    </tr>
  );
}

function Cell({ label, class: look = "", children }: { label: string; class?: string; children: ComponentChildren }) {
  if (!children) return <td role="cell" class={look + " none"}>–</td>;
  return <td role="cell" data-label={label} class={look}>{children}</td>;
}

const rtt = (ms: number) => (ms < 10 ? ms.toFixed(1) : Math.round(ms)) + " ms";

// Endpoint links to the other node's dashboard. The address comes from that
// node: anything but HTTP is shown as text.
function Endpoint({ url }: { url: string }) {
  if (!url) return <span class="muted">dials out only</span>;
  if (!/^https?:\/\//.test(url)) return <>{url}</>;
  return <a href={url.replace(/\/*$/, "/ui/")} rel="noreferrer" class="mono" title={"Dashboard of " + url}>{url.replace(/^https?:\/\//, "")}</a>;
}

function Applied({ m }: { m: Member }) {
  const behind = (status.value?.config?.rev ?? 0) - m.applied_revision;
  if (behind <= 0 || stateLook(m).rank === 0) return <>{m.applied_revision}</>;
  return <>{m.applied_revision} <span class="late">{behind} behind</span></>;
}

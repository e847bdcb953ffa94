import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { Config } from "./config";
import { Events } from "./events";
import { Figures } from "./figures";
import { Frame } from "./frame";
import { Login } from "./login";
import { Members } from "./members";
import { access, feed, status } from "./state";
import { followVisibility, start } from "./stream";
import { healthLook } from "./tone";
import { Verdict } from "./verdict";

// Routes live in the hash, so that the page works under every path prefix.
const hash = signal(location.hash);
addEventListener("hashchange", () => (hash.value = location.hash));

function App() {
  const [path, query = ""] = hash.value.slice(1).split("?");
  return <Frame>{path === "/login" ? <Login code={new URLSearchParams(query).get("code") ?? ""} /> : <Overview />}</Frame>;
}

function Overview() {
  return (
    <main id="main">
      {access.value === "nothing" ? <h1 class="hidden">muster</h1> : <Verdict />}
      <Figures />
      {access.value === "full" && status.value && (
        <>
          <Members />
          <div class="columns">
            <Config />
            <Events />
          </div>
        </>
      )}
      {(access.value === "summary" || access.value === "nothing") && <Hint />}
    </main>
  );
}

const Hint = () => (
  <section class="card hint">
    <h2>{access.value === "summary" ? "There is more to see" : "This node answers signed-in operators only"}</h2>
    <p>Members, configuration, events and what to do about problems are shown after signing in. Run <code>muster ui</code> on a machine that holds the cluster cookie, and open the link it prints.</p>
    <a class="button primary" href="#/login">Sign in</a>
  </section>
);

effect(() => {
  const s = status.value;
  const stale = feed.value === "lost" ? "stale · " : "";
  document.title = s ? `${stale}${healthLook(s.cluster_health).word} ${s.healthy_members}/${s.cluster_size} · ${s.cluster_name} · muster` : "muster";
});

render(<App />, document.getElementById("app")!);
followVisibility();
start();

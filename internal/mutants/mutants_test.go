package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mutant is the product without one of its rules.
type mutant struct {
	rule     string
	file     string // below the module's root
	old, new string // old occurs once
	pkg, run string // whose test must fail, and which
}

// mutants are the rules to take away. To try another one: change the product by hand
// and run its tests; if nothing fails, a test is missing.
func mutants() []mutant { return append(membership(), configuration()...) }

// membership is what keeps a cluster whole.
func membership() []mutant {
	return []mutant{
		{
			rule: "the holder of a lease stops before the store lets another one begin",
			file: "lease/contender.go", old: "return c.claim.TTL - c.claim.TTL/10", new: "return c.claim.TTL + c.claim.TTL/10",
			pkg: "./lease", run: "TestNeverTwoUnderRandomFaults",
		},
		{
			rule: "a node takes leases for itself only",
			file: "replica/backend.go", old: "!ok || from != c.Holder", new: "!ok",
			pkg: "./replica", run: "TestLeasesAreForTheNodeThatAsks",
		},
		{
			rule: "a dead member is asked for an exchange of state again and again",
			file: "gossip/heal.go", old: "h.start(ctx, &exchanges, h.next())", new: "_ = h.next()",
			pkg: "./gossip", run: "TestPartitionsHealWhateverTheirLength",
		},
		{
			rule: "members of another cluster are refused",
			file: "join/policy.go", old: "own.ID != hello.Cluster {", new: "false {",
			pkg: "./join", run: "TestForeignClusterRaisesAnAlarmOnBothAndIsLeftAlone",
		},
		{
			rule: "a name that a live row of the database holds is not taken",
			file: "join/registry.go", old: "s.nameHeld(ctx, rows)", new: "s.nameHeld(ctx, nil)",
			pkg: "./join", run: "TestDatabaseRefusesANameThatIsHeld",
		},
		{
			rule: "a joiner is called back before it is admitted",
			file: "join/accept.go", old: "if e == nil && ask.Endpoint != Outbound {", new: "if e == nil && false {",
			pkg: "./join", run: "TestUnreachableJoinerIsToldAddressAndClass",
		},
		{
			rule: "candidates that are silent count when a cluster is formed",
			file: "join/formation.go", old: "if !s.countsLocked(t) {", new: "if !s.countsLocked(t) || t.contact.IsZero() {",
			pkg: "./join", run: "TestHalfOfTheCandidatesInSightNeverFormACluster",
		},
		{
			rule: "a cluster is minted with as many promises as are expected",
			file: "join/formation.go", old: "if len(members)+1 < s.cfg.Expect {", new: "if false {",
			pkg: "./join", run: "TestNodesThatExpectEachOtherFormOneCluster",
		},
		{
			rule: "a promise is given once",
			file: "join/state.go", old: `if r.Promise.To == "" || r.Promise.To == p.To && r.Promise.Round <= p.Round {`, new: "if true {",
			pkg: "./join", run: "TestPromiseToAGoneFormerIsShownAndHeld",
		},
		{
			rule: "a run of a node that still answers is not replaced by another one",
			file: "link/conn.go", old: "o.hello.Boot != c.hello.Boot", new: "false",
			pkg: "./link", run: "TestASecondBootIsACloneWhileTheFirstAnswers",
		},
		{
			rule: "an equal boot counter gives a clone away",
			file: "link/conn.go", old: "twin := o.hello.Boot.Counter == c.hello.Boot.Counter", new: "twin := false",
			pkg: "./link", run: "TestAnEqualBootCounterIsAClone",
		},
		{
			rule: "nobody is reaped without a majority in sight",
			file: "server/reap.go", old: "case 2*healthy <= len(s.rows):", new: "case false:",
			pkg: "./server", run: "TestSimulatedPartitionReapsNobodyOnTheSmallSide",
		},
	}
}

// configuration is what keeps its documents whole.
func configuration() []mutant {
	return []mutant{
		{
			rule: "no heartbeat follows a good-bye",
			file: "server/roster.go", old: "r.gone() || r.left.Load()", new: "r.gone()",
			pkg: "./server", run: "TestSimulatedReapingTakesTheGoneByTheirAge",
		},
	}
}

// configMutants are those of the way of a change to all members.
func configMutants() []mutant {
	return []mutant{
		{
			rule: "a member confirms by its chain, not by its revision",
			file: "replica/confirm.go", old: "return h.Chain == at.Chain", new: "return true",
			pkg: "./replica", run: "TestConfirmComparesTheChain",
		},
		{
			rule: "members of another epoch do not confirm",
			file: "replica/confirm.go", old: "case h.Position.Epoch != at.Epoch || h.Position.Rev < at.Rev:", new: "case h.Position.Rev < at.Rev:",
			pkg: "./replica", run: "TestConfirmComparesTheChain",
		},
		{
			rule: "a write that waits counts members that are down",
			file: "server/confirm.go", old: "need := wait.Need(len(counted))", new: "need := wait.Need(len(n.live()) + 1)",
			pkg: "./server", run: "TestWaitCountsTheDurableMembers",
		},
		{
			rule: "delays of a trace are corrected by the clocks",
			file: "server/trace.go", old: "return t.Add(-f.skew.by)", new: "return t",
			pkg: "./server", run: "TestTraceShowsTheWayOfARevision",
		},
		{
			rule: "a member that was heard to be behind is reminded",
			file: "replica/replica.go", old: "wg.Go(func() { r.remind(ctx) })", new: "",
			pkg: "./replica", run: "TestBehindPeersAreReminded",
		},
		{
			rule: "digests are a way to a change",
			file: "replica/digest.go", old: "r.claims.note(d.node, d.at)", new: "return",
			pkg: "./server", run: "TestDigestsAloneLevelWholeNodes",
		},
	}
}

func TestATestNoticesEveryBrokenRule(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(mutants(), configMutants()...) {
		t.Run(m.rule, func(t *testing.T) {
			m.survives(t, root)
		})
	}
}

// failed is what the go command prints for a test that failed; what does not
// compile proves nothing.
var failed = regexp.MustCompile(`(?m)^(--- FAIL|panic: )`)

func (m mutant) survives(t *testing.T, root string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-vet=off", "-overlay", m.overlay(t, root), "-run", "^"+m.run+"$", m.pkg)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("%s passes without the rule", m.run)
	}
	if !failed.Match(out) {
		t.Fatalf("the mutant does not run: %v\n%s", err, out)
	}
}

// overlay writes the changed file and the list that puts it into the place of the
// original.
func (m mutant) overlay(t *testing.T, root string) string {
	t.Helper()
	original := filepath.Join(root, m.file)
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s holds %q %d times, want once: say here what the rule looks like now", m.file, m.old, n)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "changed.go")
	write(t, changed, []byte(strings.Replace(string(source), m.old, m.new, 1)))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	write(t, file, list)
	return file
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

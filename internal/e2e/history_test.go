package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// says runs a command line at a node, wants the exit code and returns all it says.
func (n *node) says(want int, args ...string) string {
	n.c.t.Helper()
	stdout, stderr := n.cli(want, args...)
	return stdout + stderr
}

// TestOperatorTakesAChangeBack goes the whole way of an operator on two processes: the
// second one has no store of its own.
func TestOperatorTakesAChangeBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2)
	file := filepath.Join(c.dir, "routes.yaml")
	if err := os.WriteFile(file, []byte("kind: route\nname: demo\nspec: {weight: 10}\n---\nkind: route\nname: other\nspec: [1]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := n2.says(0, "config", "apply", "-f", file, "--dry-run"); out != "route/demo would be created\nroute/other would be created\n" {
		t.Errorf("dry run: %s", out)
	}
	if out := n2.says(0, "config", "apply", "-f", file, "--reason", "release 12"); out != "route/demo created, revision 1\nroute/other created, revision 2\n" {
		t.Errorf("apply: %s", out)
	}
	if out := n1.says(0, "config", "apply", "-f", file); out != "route/demo unchanged\nroute/other unchanged\n" {
		t.Errorf("apply again: %s", out)
	}
	n2.says(0, "config", "set", "route/demo", `{"weight":99}`, "--reason", "oops")
	takenBack(t, n1, n2)
	refusedBatch(t, n2)
}

func takenBack(t *testing.T, n1, n2 *node) {
	t.Helper()
	var log api.RevisionList
	if err := json.Unmarshal([]byte(n2.says(0, "config", "log", "route/demo", "-o", "json")), &log); err != nil {
		t.Fatal(err)
	}
	if len(log.Revisions) != 2 || log.Revisions[0].Rev != 3 || log.Revisions[0].Reason != "oops" || log.Revisions[1].Reason != "release 12" {
		t.Errorf("the log: %+v", log)
	}
	out := n2.says(3, "config", "diff", "route/demo")
	for _, want := range []string{`-  "weight": 10`, `+  "weight": 99`, "oops"} {
		if !strings.Contains(out, want) {
			t.Errorf("the diff lacks %q:\n%s", want, out)
		}
	}
	if out := n2.says(0, "config", "rollback", "route/demo", "--to", "1", "--dry-run"); !strings.Contains(out, "would be changed") {
		t.Errorf("dry run: %s", out)
	}
	if out := n2.says(0, "config", "rollback", "route/demo", "--to", "1"); out != "route/demo changed, revision 4\n" {
		t.Errorf("rollback: %s", out)
	}
	eventually(t, time.Second, func() error {
		d, err := n1.read("route/demo")
		if err == nil && (d.Rev != 4 || string(d.Spec) != `{"weight":10}` || d.Reason != "rollback to revision 1") {
			err = fmt.Errorf("n1 serves %+v", d)
		}
		return err
	})
	n1.says(0, "config", "diff", "route/demo", "--from", "1", "--to", "4")
}

func refusedBatch(t *testing.T, n *node) {
	t.Helper()
	p, err := n.problemOf(http.MethodPost, "/v1/config:apply",
		`{"items":[{"kind":"route","name":"new","spec":1,"if_absent":true},{"kind":"route","name":"other","spec":1,"if_rev":1}]}`)
	if err != nil || p.Status != 412 || p.Code != muster.CodeConflict || !strings.Contains(p.Detail, "items[1] (route/other)") {
		t.Errorf("a conflict: %+v %v", p, err)
	}
	if s := n.mustStatus(); s.Config.Rev != 4 {
		t.Errorf("the refused batch has written: revision %d", s.Config.Rev)
	}
}

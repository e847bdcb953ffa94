package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
)

// TestThreeNodesOnPostgres: the member table is all they need to find each other.
func TestThreeNodesOnPostgres(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t).Database(t)
	c := newCluster(t)
	n1 := c.node("n1", "--config-store", dsn).start()
	n2 := c.node("n2", "--config-store", dsn).start()
	n3 := c.node("n3", "--config-store", dsn).start()
	lifeOfThree(t, n1, n2, n3)
}

func TestPostgresOutage(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	dsn := pg.Database(t)
	c := newCluster(t)
	n1 := c.node("n1", "--config-store", dsn).up()
	n2 := c.node("n2", "--config-store", dsn).up()
	all(t, 10*time.Second, n1, n2)
	if _, err := n1.create("route/demo", `{"weight":10}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, func() error { _, err := n2.read("route/demo"); return err })

	pg.Stop()
	for _, n := range []*node{n1, n2} {
		if d, err := n.read("route/demo"); err != nil || d.Rev != 1 {
			t.Errorf("read at %s with Postgres down: %+v %v", n.name, d, err)
		}
		p, err := n.problemOf(http.MethodPut, "/v1/config/route/x", `{}`, "If-None-Match", "*")
		if err != nil || p.Status != 503 || p.Code != muster.CodeStoreUnavailable {
			t.Errorf("write at %s with Postgres down: %+v %v, want 503 store-unavailable", n.name, p, err)
		}
		if _, err := n.get("/health", nil); err != nil {
			t.Errorf("/health with Postgres down: %v", err)
		}
		if _, err := n.get("/ready", nil); err != nil {
			t.Errorf("/ready with Postgres down: %v", err)
		}
	}
	// A node that starts now serves what it knew.
	n2.kill()
	n2.up()
	eventually(t, 2*time.Second, func() error { _, err := n2.read("route/demo"); return err })

	pg.Start(t)
	took := eventually(t, time.Second, func() error { _, err := n1.create("route/x", `{}`); return err })
	t.Logf("first write %s after Postgres was back", took)
	eventually(t, 3*time.Second, func() error { _, err := n2.create("route/y", `{}`); return err })
	all(t, 10*time.Second, n1, n2)
}

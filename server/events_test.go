package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/journal"
	"github.com/musterhq/muster/server"
)

// eventPage asks a node for its events.
func (n *simNode) eventPage(query string) (page muster.EventPage, err error) {
	err = n.get("/v1/events?wait=0s"+query, &page)
	return page, err
}

// TestClusterEventsPutCausesFirst writes at one node after the other. All of them
// tell of all writes, and the node that ordered a write before the others, though
// its clock is half an hour ahead of theirs.
func TestClusterEventsPutCausesFirst(t *testing.T) {
	simulate(t, func(s *sim) {
		dir := t.TempDir()
		n1 := s.node("n1", func(cfg *server.Config) { cfg.DataDir, cfg.OpenState = dir, nil }).start()
		s.formed(10*time.Second, n1)
		status, err := n1.status()
		if err != nil {
			t.Fatal(err)
		}
		n1.stop()
		ahead(t, dir, status.NodeID)
		n1.start()
		n2 := s.node("n2", joining(n1)).start()
		n3 := s.node("n3", joining(n1)).start()
		nodes := []*simNode{n1, n2, n3}
		s.formed(20*time.Second, nodes...)
		for i := range 12 {
			if err := nodes[i%3].create(fmt.Sprintf("route/w%02d", i), "1"); err != nil {
				t.Fatal(err)
			}
		}
		var page muster.EventPage
		s.within(5*time.Second, func() (err error) {
			page, err = n2.eventPage("&scope=cluster&kind=config.change")
			if err == nil && len(page.Events) != 36 {
				err = fmt.Errorf("%d events of writes, want 12 on each of 3 nodes", len(page.Events))
			}
			return err
		})
		told := map[string]bool{} // writes that n1 has told of: the store is on its disk, it is the cause of all others
		for _, e := range page.Events {
			if told[e.Subject] = told[e.Subject] || e.NodeName == "n1"; !told[e.Subject] {
				t.Errorf("%s tells of %s before n1 does", e.NodeName, e.Subject)
			}
		}
		if !page.Complete || len(page.Missing) != 0 || len(page.Gaps) != 0 {
			t.Errorf("complete %t, missing %v, gaps %v", page.Complete, page.Missing, page.Gaps)
		}
		if !slices.IsSortedFunc(page.Events, func(a, b muster.Event) int { return strings.Compare(a.Clock.String(), b.Clock.String()) }) {
			t.Error("the clocks do not rise")
		}
		again, err := n3.eventPage("&scope=cluster&kind=config&after=" + page.Next)
		if err != nil || len(again.Events) != 0 {
			t.Errorf("resumed at another node: %d events again, %v", len(again.Events), err)
		}
		for _, n := range nodes {
			n.stop()
		}
	})
}

// ahead leaves an event of the future in the journal of a node, so that its clock
// goes on from there.
func ahead(t *testing.T, dir string, id muster.NodeID) {
	t.Helper()
	j, err := journal.Open(journal.Config{Node: id, Name: "n1", Boot: 99, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	j.Clock().Observe(muster.ClockAt(time.Now().Add(30 * time.Minute)))
	j.Add(muster.Event{Kind: muster.EventNodeStop})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestClusterEventsNameWhoIsMissing: a dead member's events are missed by name,
// those of the others are there.
func TestClusterEventsNameWhoIsMissing(t *testing.T) {
	simulate(t, func(s *sim) {
		n1 := s.node("n1", nil).start()
		n2 := s.node("n2", joining(n1)).start()
		n3 := s.node("n3", joining(n1)).start()
		s.formed(20*time.Second, n1, n2, n3)
		n3.kill()
		s.within(20*time.Second, func() error {
			page, err := n1.eventPage("&scope=cluster&member=n3&kind=member")
			if err != nil {
				return err
			}
			dead := map[string]bool{}
			for _, e := range page.Events {
				dead[e.NodeName] = dead[e.NodeName] || e.To == string(muster.StateDead)
			}
			if !dead["n1"] || !dead["n2"] {
				return fmt.Errorf("who saw n3 die: %v", dead)
			}
			if page.Complete || strings.Join(page.Missing, " ") != "n3" {
				t.Fatalf("complete %t, missing %v, want n3 by name", page.Complete, page.Missing)
			}
			return nil
		})
		n2.stop()
		n1.stop()
		time.Sleep(10 * time.Second) // memberlist's probe of n3 ends after its node
	})
}

// TestEventQueriesAreChecked: nonsense is refused by the name of the field.
func TestEventQueriesAreChecked(t *testing.T) {
	simulate(t, func(s *sim) {
		n1 := s.node("n1", nil).start()
		s.formed(10*time.Second, n1)
		for _, query := range []string{"scope=world", "since=yesterday", "since=-1s", "after=1", "limit=0", "limit=1001"} {
			field, _, _ := strings.Cut(query, "=")
			status, body, err := n1.request(http.MethodGet, "/v1/events?"+query, "")
			if err != nil || status != http.StatusBadRequest || !strings.Contains(string(body), field) {
				t.Errorf("%s: %d %s %v", query, status, body, err)
			}
		}
		page, err := n1.eventPage("&since=1h&limit=1&kind=node.start&member=n1")
		if err != nil || len(page.Events) != 1 || page.Events[0].NodeName != "n1" || page.Events[0].Boot != 1 {
			t.Errorf("the start of the node: %+v, %v", page, err)
		}
		n1.stop()
	})
}

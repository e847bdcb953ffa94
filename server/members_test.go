package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

// TestSimulatedMembersAreAnsweredFromMemory: in virtual time a list of a hundred
// members, with the database gone and the other member cut off, takes exactly as
// long as /health, which looks at nothing.
func TestSimulatedMembersAreAnsweredFromMemory(t *testing.T) {
	simulate(t, func(s *sim) {
		s.net.Delay(time.Millisecond, 0)
		s.shared = memory.New()
		for i := range 98 {
			id := muster.NodeID(fmt.Sprintf("%08d-0000-8000-8000-000000000000", i))
			if err := s.shared.PutMember(s.t.Context(), store.Member{ID: id, Name: fmt.Sprintf("gone-%02d", 97-i), Role: muster.RoleVoter, State: muster.StateAlive}); err != nil {
				s.t.Fatal(err)
			}
		}
		a, b := s.node("n1", nil).start(), s.node("n2", nil).start()
		s.within(10*time.Second, func() error { return call("n2", muster.StateAlive, a) })
		s.within(10*time.Second, func() error { return listed(a, 100) })
		s.net.Partition([]string{"n1", "client"}, []string{"n2"})
		s.database(memory.Faults{Down: true})
		took := func(path string) time.Duration {
			begun := time.Now()
			if _, _, err := a.request(http.MethodGet, path, ""); err != nil {
				s.t.Fatal(err)
			}
			return time.Since(begun)
		}
		if list, health := took("/cluster/members"), took("/health"); list != health {
			s.t.Errorf("the list took %s, /health %s: it waited for something", list, health)
		}
		if err := listed(a, 100); err != nil {
			s.t.Error(err)
		}
		b.stop()
		a.stop()
	})
}

// listed reports nil if a node lists so many members, in order and without nulls.
func listed(n *simNode, size int) error {
	_, data, err := n.request(http.MethodGet, "/cluster/members", "")
	if err != nil {
		return err
	}
	var list struct{ Members []map[string]any }
	if err := json.Unmarshal(data, &list); err != nil || len(list.Members) != size {
		return fmt.Errorf("%d members, want %d (%w)", len(list.Members), size, err)
	}
	var names []string
	for _, m := range list.Members {
		for field, value := range m {
			if value == nil {
				return fmt.Errorf("%s of %v is null", field, m["name"])
			}
		}
		names = append(names, m["name"].(string))
	}
	if !slices.IsSorted(names) {
		return fmt.Errorf("not sorted: %v", names)
	}
	return nil
}

// TestSimulatedMembersAreFilteredOnEveryNode by what only the members themselves know.
func TestSimulatedMembersAreFilteredOnEveryNode(t *testing.T) {
	simulate(t, func(s *sim) {
		a := s.node("n1", func(cfg *server.Config) { cfg.Region, cfg.Zone = "eu", "z1" }).start()
		b := s.node("n2", func(cfg *server.Config) {
			joining(a)(cfg)
			cfg.Region, cfg.Zone, cfg.Role, cfg.Tags = "us", "z2", muster.RoleObserver, map[string]string{"disk": "ssd"}
		}).start()
		s.formed(5*time.Second, a, b)
		for query, want := range map[string]string{
			"region=eu": "[n1]", "region=us&zone=z2": "[n2]", "zone=z2": "[n2]", "role=observer": "[n2]", "role=voter": "[n1]",
			"tag=disk": "[n2]", "tag=disk=ssd": "[n2]", "tag=disk=hdd": "[]", "state=alive": "[n1 n2]", "state=dead": "[]", "state=dead,alive&region=eu": "[n1]",
		} {
			for _, n := range []*simNode{a, b} {
				s.within(2*time.Second, func() error {
					var list struct{ Members []muster.Member }
					if err := n.get("/cluster/members?"+query, &list); err != nil {
						return err
					}
					names := []string{}
					for _, m := range list.Members {
						names = append(names, m.Name)
					}
					if got := fmt.Sprint(names); got != want || list.Members == nil {
						return fmt.Errorf("%s at %s: %s, want %s", query, n.name, got, want)
					}
					return nil
				})
			}
		}
		b.stop()
		a.stop()
	})
}

// TestSimulatedListOfAHundredMembers measures what one of a hundred whole nodes needs
// to answer, by the real clock while the virtual one stands still: nothing else runs
// then. The figure is for docs/performance.md; it never fails the test.
func TestSimulatedListOfAHundredMembers(t *testing.T) {
	size := 8
	if os.Getenv("MUSTER_LONG") != "" {
		size = 100
	}
	simulate(t, func(s *sim) {
		first := s.node("n1", nil).start()
		nodes := []*simNode{first}
		for i := 2; i <= size; i++ {
			time.Sleep(80 * time.Millisecond)
			nodes = append(nodes, s.node(fmt.Sprintf("n%d", i), joining(first)).start())
		}
		s.within(time.Minute, func() error { return first.sees(size) })
		for _, path := range []string{"/cluster/members", "/cluster/status"} {
			took, bytes := first.cost(path)
			s.t.Logf("%s of %d members: median %s, slowest %s of %d, %d bytes", path, size, took[len(took)/2], took[len(took)-1], len(took), bytes)
		}
		for _, n := range nodes {
			n.stop()
		}
	})
}

// cost calls the handler of a path, without a network, and returns how long each of
// 200 calls took by the clock of the system, sorted, and the size of an answer.
func (n *simNode) cost(path string) (took []time.Duration, size int) {
	n.s.t.Helper()
	for range 200 {
		r := httptest.NewRequest(http.MethodGet, n.url()+path, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+n.s.token)
		w := httptest.NewRecorder()
		var begin, end syscall.Timeval
		if err := errors.Join(syscall.Gettimeofday(&begin), serve(n, w, r), syscall.Gettimeofday(&end)); err != nil || w.Code != http.StatusOK {
			n.s.t.Fatal(w.Code, err)
		}
		took = append(took, time.Duration(end.Nano()-begin.Nano()))
		size = w.Body.Len()
	}
	slices.Sort(took)
	return took, size
}

func serve(n *simNode, w http.ResponseWriter, r *http.Request) error {
	n.server.Handler().ServeHTTP(w, r)
	return nil
}

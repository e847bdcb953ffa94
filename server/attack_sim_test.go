package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

// TestSimulatedTenMinutesOfAWrongCookieDisturbNobody: a node with another cookie seeks
// to join two members all the time. They stay alive to each other at every look, and
// write; the stranger knows why it is alone.
func TestSimulatedTenMinutesOfAWrongCookieDisturbNobody(t *testing.T) {
	simulate(t, func(s *sim) {
		a := s.node("n1", nil).start()
		b := s.node("n2", func(cfg *server.Config) { cfg.JoinEndpoints = []string{a.url()} }).start()
		s.formed(5*time.Second, a, b)
		stranger := s.node("stranger", func(cfg *server.Config) {
			cfg.Cookies = newRing(s.t)
			cfg.JoinEndpoints = []string{a.url(), b.url()}
		}).start()
		looks, writes := 0, 0
		for begun := time.Now(); time.Since(begun) < 10*time.Minute; time.Sleep(time.Second) {
			for _, n := range []*simNode{a, b} {
				if err := n.sees(2); err != nil {
					s.t.Fatalf("after %s: %v", time.Since(begun), err)
				}
			}
			if looks++; looks%60 == 0 {
				writes++
				if err := b.create(fmt.Sprintf("route/r%d", looks), `{}`); err != nil {
					s.t.Errorf("a write after %s: %v", time.Since(begun), err)
				}
			}
		}
		s.within(time.Second, func() error { return agree(int64(writes), a, b) })
		if st := stranger.server.Status(); st.ClusterID != "" || !hasCode(st, muster.CodeCookieMismatch) {
			s.t.Errorf("the stranger is in cluster %q with the problems %+v", st.ClusterID, st.Problems)
		}
		s.t.Logf("%d looks, all healthy, and %d writes", looks, writes)
		for _, n := range []*simNode{stranger, b, a} {
			n.stop()
		}
	})
}

func hasCode(s muster.Status, code muster.Code) bool {
	for _, p := range s.Problems {
		if p.Code == code {
			return true
		}
	}
	return false
}

// TestSimulatedTricklingBodyIsCutOff: an operator's body that comes a byte a second
// ends with its connection after thirty, and writes nothing.
func TestSimulatedTricklingBodyIsCutOff(t *testing.T) {
	simulate(t, func(s *sim) {
		n := s.node("n1", nil).start()
		s.formed(5*time.Second, n)
		nc, err := s.net.Host("client").Dial(s.t.Context(), "tcp", "n1:9113")
		if err != nil {
			s.t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		_, _ = fmt.Fprintf(nc, "PUT /v1/config/route/slow HTTP/1.1\r\nHost: n1\r\nAuthorization: Bearer %s\r\nIf-None-Match: *\r\n"+
			"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n", s.token)
		begun, stop := time.Now(), make(chan struct{})
		go func() {
			defer close(stop)
			for {
				if _, err := nc.Write([]byte(" ")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		_ = nc.SetReadDeadline(begun.Add(time.Minute))
		br, said := bufio.NewReader(nc), []byte(nil)
		resp, err := http.ReadResponse(br, nil)
		if err == nil {
			said, err = io.ReadAll(br)
		}
		took := time.Since(begun)
		if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(said), "it was not complete 30s after") || took < 25*time.Second || took > 35*time.Second {
			s.t.Errorf("after %s: %v %s, %v; want a refusal that says why, and the end, after 30 s", took, resp, said, err)
		}
		_ = nc.Close()
		<-stop
		if err := agree(0, n); err != nil {
			s.t.Error(err)
		}
		n.stop()
	})
}

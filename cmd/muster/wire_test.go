package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestConflictSaysWhatIsThere asks over HTTP, as a real node answers.
func TestConflictSaysWhatIsThere(t *testing.T) {
	t.Parallel()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"kind":"route","name":"demo","spec":1,"rev":7}`))
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusPreconditionFailed)
		_, _ = w.Write([]byte(`{"code":"conflict","title":"t","status":412,"detail":"route/demo is at revision 8","fix":"send If-Match",` +
			`"current":{"kind":"route","name":"demo","spec":2,"rev":8,"updated_by":"bob/1"}}`))
	}))
	defer node.Close()
	term := newTerminal(t, "MUSTER_ADDR="+node.URL)
	term.connect = connect
	if code := term.muster(t, "config", "set", "route/demo", "3"); code != 6 {
		t.Errorf("got exit code %d, want 6", code)
	}
	for _, want := range []string{"route/demo is at revision 8", "shows what bob/1 wrote", "--if-rev 8", "muster explain conflict"} {
		if !strings.Contains(term.err.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, term.err)
		}
	}
}

func TestNoNodeIsExplained(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close() // nobody listens there now
	term := newTerminal(t)
	term.connect = connect
	if code := term.muster(t, "status", "--addr", gone.Addr().String()); code != 7 || !strings.Contains(term.err.String(), "start a node with muster serve") {
		t.Errorf("got exit code %d and %s", code, term.err)
	}
}

func TestRefusedTokenIsExplained(t *testing.T) {
	t.Parallel()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"code":"unauthenticated","title":"t","status":401,"detail":"GET /cluster/members needs a token","fix":"send a header"}`))
	}))
	defer node.Close()
	term := newTerminal(t)
	term.connect = connect
	if code := term.muster(t, "members", "--addr", node.URL); code != 4 || !strings.Contains(term.err.String(), "--token-file FILE or set MUSTER_TOKEN") {
		t.Errorf("got exit code %d and %s", code, term.err)
	}
}

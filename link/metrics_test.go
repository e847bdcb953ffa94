package link_test

import (
	"context"
	"crypto/tls"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster/link"
)

// metric returns a metric's value, for a histogram the number of observations, and 0
// if there is no such series. want are all its label values in the order of their names.
func metric(t *testing.T, reg *prometheus.Registry, name string, want ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "muster_link_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := make([]string, 0, 3)
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if strings.Join(labels, " ") == strings.Join(want, " ") {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// measured gives a node a registry of its own.
func measured(reg *prometheus.Registry) func(*link.Config) {
	return func(c *link.Config) { c.Metrics = reg }
}

func TestMetricsFollowALink(t *testing.T) {
	t.Parallel()
	ra, rb := prometheus.NewRegistry(), prometheus.NewRegistry()
	a, b := start(t, newSelf(t, "a"), measured(ra)), start(t, newSelf(t, "b"), measured(rb))
	want := func(reg *prometheus.Registry, least float64, name string, labels ...string) {
		t.Helper()
		eventually(t, name+" "+strings.Join(labels, ","), func() bool { return metric(t, reg, name, labels...) >= least })
	}
	a.Learn(b.self.ID, b.url)
	want(ra, 1, "peers", "idle")
	_ = a.Send(b.self.ID, []byte("12345"))
	receive(t, "packet", b.in.packets)
	if _, err := a.Stream(t.Context(), b.self.ID); err != nil {
		t.Fatal(err)
	}
	receive(t, "stream", b.in.streams)
	for reg, dir := range map[*prometheus.Registry]string{ra: "out", rb: "in"} {
		want(reg, 1, "links", "packet", dir)
		want(reg, 1, "links", "stream", dir)
		want(reg, 1, "handshakes_total", "packet", dir, "ok")
		want(reg, 2, "handshake_seconds", dir)
		want(reg, 1, "packets_total", dir)
		want(reg, 5, "packet_bytes_total", dir)
		want(reg, 1, "streams_total", dir, "ok")
		want(reg, 1, "peers", "up")
	}
	want(ra, 1, "batches_total")
	want(ra, 1, "write_seconds")

	b.Drop(a.self.ID)
	eventually(t, "no link is counted", func() bool {
		return metric(t, ra, "links", "packet", "out")+metric(t, rb, "links", "stream", "in")+metric(t, rb, "links", "packet", "in") == 0
	})
	_ = a.Send(b.self.ID, []byte("x"))
	want(ra, 1, "reconnects_total", "revoked")
	b.stop()
	eventually(t, "the peer is gone", func() bool {
		_ = a.Send(b.self.ID, []byte("x"))
		return metric(t, ra, "peers", "backoff") == 1
	})
	if _, err := a.Stream(t.Context(), b.self.ID); err == nil {
		t.Error("a stream to a node that is gone")
	}
	want(ra, 1, "streams_total", "out", "peer-unreachable")
}

// TestReconnectsNameTheirReason: what a hand-made peer says when it closes, and the
// end without a word.
func TestReconnectsNameTheirReason(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	b := start(t, newSelf(t, "b"), measured(reg))
	for code, reason := range map[uint16]string{
		0: "lost", 1000: "idle", 1001: "going_away", 4000: "replaced", 4001: "new_boot", 4002: "too_slow", 4003: "revoked", 4999: "lost",
	} {
		self := selfBeside(t, "hand", b.self.ID, true)
		b.Learn(self.ID, "http://192.0.2.1:9")
		before := metric(t, reg, "reconnects_total", reason)
		w := enter(t, b, "packet", self)
		eventually(t, "the link is up", func() bool { up, _, _ := b.State(self.ID); return up })
		if code > 0 {
			w.write(webFrame(0x88, true, []byte{byte(code >> 8), byte(code)}))
		}
		_ = w.nc.Close()
		eventually(t, "the link is down", func() bool { up, _, _ := b.State(self.ID); return !up })
		enter(t, b, "packet", self)
		eventually(t, "reconnects "+reason, func() bool { return metric(t, reg, "reconnects_total", reason) == before+1 })
	}
}

func TestWaitingIsMeasured(t *testing.T) {
	t.Parallel()
	reg, release := prometheus.NewRegistry(), make(chan struct{})
	defer close(release)
	a := start(t, newSelf(t, "a"), holdDial(release), measured(reg))
	id := newSelf(t, "b").ID
	a.Learn(id, "http://127.0.0.1:1")
	_ = a.Send(id, make([]byte, 1000))
	eventually(t, "dialing", func() bool { return metric(t, reg, "peers", "dialing") == 1 })
	if n := metric(t, reg, "queue_bytes"); n != 1004 {
		t.Errorf("queue_bytes %v, want 1004", n)
	}
	a.Learn(newSelf(t, "c").ID, "")
	if n := metric(t, reg, "peers", "no_route"); n != 1 {
		t.Errorf("%v peers without a route", n)
	}
	knock(t, a.url, "packet", a.self.ID)
	if n := metric(t, reg, "unconfirmed"); n != 1 {
		t.Errorf("%v unconfirmed", n)
	}
	eventually(t, "it had its 2 s", func() bool {
		return metric(t, reg, "unconfirmed") == 0 && metric(t, reg, "handshakes_total", "packet", "in", "timeout") == 1
	})
}

// TestFailuresToProveOneselfAreCounted: one hand-made peer per reason.
func TestFailuresToProveOneselfAreCounted(t *testing.T) {
	t.Parallel()
	secured := httptest.NewTLSServer(nil)
	t.Cleanup(secured.Close)
	self := newSelf(t, "hand")
	attacks := map[string]func(b *node){
		"cookie": func(b *node) {
			other := keyOf("other")
			w := open(t, b.url)
			w.write([]byte(request("rpc", firstMessage(t, noiseOf(t, true, other, "rpc"), other, openingOf("rpc", "")))))
			w.answer()
		},
		"replay": func(b *node) {
			key := keyOf("secret")
			text := request("rpc", firstMessage(t, noiseOf(t, true, key, "rpc"), key, openingOf("rpc", "")))
			for range 2 {
				w := open(t, b.url)
				w.write([]byte(text))
				w.answer()
			}
		},
		"hello": func(b *node) {
			w := knock(t, b.url, "packet", b.self.ID)
			w.record(forged(w, self, func(m map[string]any) { m["id"] = b.self.ID }))
		},
		"identity": func(b *node) {
			w := knock(t, b.url, "packet", newSelf(t, "third").ID)
			w.record(frameOf(16, helloOf(self, "packet", w.binding)))
		},
		"record": func(b *node) { enter(t, b, "packet", self).write(webFrame(0x82, true, make([]byte, 64))) },
		"certificate": func(b *node) {
			_, err := b.Meet(context.Background(), secured.URL, "")
			if err == nil {
				t.Error("met a host with a foreign certificate")
			}
		},
	}
	for reason, attack := range attacks {
		reg := prometheus.NewRegistry()
		b := start(t, newSelf(t, "b"), measured(reg), func(c *link.Config) { c.TLS = &tls.Config{MinVersion: tls.VersionTLS12} })
		attack(b)
		for other := range attacks {
			want := 0.0
			if other == reason {
				want = 1
			}
			eventually(t, reason+" counts as "+reason+" alone, seen from "+other, func() bool {
				return metric(t, reg, "auth_failures_total", other) == want
			})
		}
	}
}

// TestLabelsComeFromUsAlone: a code and a protocol that the other side made up are no
// series of their own.
func TestLabelsComeFromUsAlone(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	a, self := start(t, newSelf(t, "a"), measured(reg)), newSelf(t, "hand")
	w := knock(t, a.url, "packet", a.self.ID)
	refusal := frameOf(18, []byte(`{"code":"made-up-by-me","text":"x","fix":"y"}`))
	w.record(append(frameOf(16, helloOf(self, "packet", w.binding)), refusal...))
	w.ending()
	bad := open(t, a.url)
	bad.write([]byte(strings.Replace(request("packet", "v=1"), "muster.packet.v1", "made-up-by-me", 1)))
	bad.answer()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.Contains(f.String(), "made-up-by-me") {
			t.Errorf("a label of the other side: %s", f)
		}
	}
}

package link

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// States of the way to a peer, as they are counted.
const (
	stateIdle    = "idle" // a route, and nothing to send
	stateDialing = "dialing"
	stateUp      = "up"
	stateBackoff = "backoff"
	stateNoRoute = "no_route" // it can only dial us, and has not
)

// gauges are read from the link when somebody asks.
type gauges struct {
	l                          *Link
	peers, queue, handshakings *prometheus.Desc
}

func newGauges(l *Link) gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("muster_link_"+name, help, labels, nil)
	}
	return gauges{
		l:            l,
		peers:        desc("peers", "Other nodes by the state of the way to them.", "state"),
		queue:        desc("queue_bytes", "Bytes of packets that wait in the fullest queue."),
		handshakings: desc("unconfirmed", "Incoming connections whose other side has not proved itself yet; 64 at most."),
	}
}

// Describe names the gauges.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.peers
	ch <- g.queue
	ch <- g.handshakings
}

// Collect reads them.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	count := map[string]int{stateIdle: 0, stateDialing: 0, stateUp: 0, stateBackoff: 0, stateNoRoute: 0}
	fullest := 0
	g.l.mu.Lock()
	peers := slices.Collect(maps.Values(g.l.peers))
	g.l.mu.Unlock()
	for _, p := range peers {
		count[p.state(time.Now())]++
		fullest = max(fullest, p.queued())
	}
	for state, n := range count {
		gauge(g.peers, n, state)
	}
	gauge(g.queue, fullest)
	gauge(g.handshakings, g.l.fresh.count())
}

// state names where the way to a peer is.
func (p *peer) state(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.links) > 0:
		return stateUp
	case p.dialing:
		return stateDialing
	case p.endpoint == "":
		return stateNoRoute
	case now.Before(p.notBefore):
		return stateBackoff
	}
	return stateIdle
}

package gossip

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
)

// metrics are the part of muster_gossip_ that is about membership; package link
// has the rest.
type metrics struct {
	g             *Gossip
	members, rtt  *prometheus.Desc
	health        *prometheus.Desc
	dropped       *prometheus.Desc
	detection     prometheus.Histogram
	probeFailures prometheus.Counter
	heals         *prometheus.CounterVec
	refused       *prometheus.CounterVec
}

func newMetrics(g *Gossip) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("muster_gossip_"+name, help, labels, nil)
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_gossip_" + name, Help: help}, []string{label})
	}
	return &metrics{
		g:       g,
		members: desc("members", "Members known to this node, itself included, by state.", "state"),
		rtt:     desc("link_rtt_seconds", "Smoothed round trip of probes to a live member.", "peer"),
		health:  desc("health_score", "This node's own trouble as memberlist sees it; 0 is well."),
		dropped: desc("inbox_dropped_total", "Packets and streams dropped because memberlist was busy.", "kind"),
		detection: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "muster_gossip_detection_seconds", Help: "Time from the suspicion of a member to the verdict dead.",
			Buckets: []float64{.25, .5, 1, 1.5, 2, 3, 5, 10, 30},
		}),
		probeFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_gossip_probe_failures_total", Help: "Probes of this node that got no direct answer in time.",
		}),
		heals:   counters("heals_total", "Exchanges of state with dead members and after joining.", "result"),
		refused: counters("refused_total", "Announcements of members refused as not genuine.", "reason"),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m, m.detection, m.probeFailures, m.heals, m.refused} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("gossip: register metrics: %w", err)
	}
	return nil
}

// Describe names the metrics that are read from the state when scraped.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.members, m.rtt, m.health, m.dropped} {
		ch <- d
	}
}

// Collect reads the state.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	views := m.g.Members()
	for state, n := range count(views) {
		gauge(m.members, float64(n), string(state))
	}
	for name, v := range liveByName(views) {
		gauge(m.rtt, v.RTT.Seconds(), name)
	}
	if m.g.running() {
		gauge(m.health, float64(m.g.list.GetHealthScore()))
	}
	inbox := m.g.cfg.Inbox
	ch <- prometheus.MustNewConstMetric(m.dropped, prometheus.CounterValue, float64(inbox.droppedPackets.Load()), "packet")
	ch <- prometheus.MustNewConstMetric(m.dropped, prometheus.CounterValue, float64(inbox.droppedStreams.Load()), "stream")
}

func count(views []View) map[muster.State]int {
	n := map[muster.State]int{muster.StateAlive: 0, muster.StateSuspect: 0, muster.StateDead: 0, muster.StateLeft: 0}
	for _, v := range views {
		n[v.State]++
	}
	return n
}

// liveByName keeps one member per name, so that no series comes twice.
func liveByName(views []View) map[string]View {
	live := map[string]View{}
	for _, v := range views {
		if !v.Self && !v.State.Gone() && v.RTT > 0 {
			live[v.Name] = v
		}
	}
	return live
}

func (m *metrics) observe(e Event) {
	if e.From == muster.StateSuspect && e.To == muster.StateDead {
		m.detection.Observe(e.Took.Seconds())
	}
}

func (m *metrics) healed(err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.heals.WithLabelValues(result).Inc()
}

package link

import (
	"errors"
	"fmt"

	"github.com/musterhq/muster"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of a Link. The children that the packet path needs are
// resolved once.
type metrics struct {
	links       *prometheus.GaugeVec
	handshakes  *prometheus.CounterVec
	seconds     prometheus.Histogram
	packets     *prometheus.CounterVec
	packetBytes *prometheus.CounterVec
	batches     prometheus.Counter
	replaced    prometheus.Counter
	drops       *prometheus.CounterVec

	dropped struct{ queueFull, stale, tooBig, noRoute, lost prometheus.Counter }
	out, in struct{ packets, bytes prometheus.Counter }
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		links: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_link_links", Help: "Links that are up, by channel and direction.",
		}, []string{"channel", "direction"}),
		handshakes: counters("handshakes_total", "Handshakes by channel, direction and result (a code or ok).", "channel", "direction", "result"),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "muster_link_dial_seconds", Help: "Time to open a link, from connect to accept.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}),
		packets:     counters("packets_total", "Packets by direction.", "direction"),
		packetBytes: counters("packet_bytes_total", "Bytes of packets by direction.", "direction"),
		batches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_link_batches_total", Help: "Writes of one or more packets.",
		}),
		replaced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "muster_link_replaced_total", Help: "Packet links replaced by a newer one.",
		}),
		drops: counters("dropped_total", "Packets not sent, by reason.", "reason"),
	}
	m.dropped.queueFull = m.drops.WithLabelValues("queue_full")
	m.dropped.stale = m.drops.WithLabelValues("stale")
	m.dropped.tooBig = m.drops.WithLabelValues("too_big")
	m.dropped.noRoute = m.drops.WithLabelValues("no_route")
	m.dropped.lost = m.drops.WithLabelValues("lost")
	m.out.packets, m.out.bytes = m.packets.WithLabelValues("out"), m.packetBytes.WithLabelValues("out")
	m.in.packets, m.in.bytes = m.packets.WithLabelValues("in"), m.packetBytes.WithLabelValues("in")
	return m, m.register(reg)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_link_" + name, Help: help}, labels)
}

func (m *metrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.links, m.handshakes, m.seconds, m.packets, m.packetBytes, m.batches, m.replaced, m.drops} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("register link metrics: %w", err)
	}
	return nil
}

func direction(inbound bool) string {
	if inbound {
		return "in"
	}
	return "out"
}

// up counts a link that came up.
func (m *metrics) up(c *conn) {
	m.handshakes.WithLabelValues(string(c.channel), direction(c.inbound), "ok").Inc()
	m.links.WithLabelValues(string(c.channel), direction(c.inbound)).Inc()
}

// ended counts a link that was up and has ended.
func (m *metrics) ended(c *conn) {
	m.links.WithLabelValues(string(c.channel), direction(c.inbound)).Dec()
}

// refused counts a handshake that came to nothing. Codes that the other side made up
// are not used as labels.
func (m *metrics) refused(channel Channel, inbound bool, err error) {
	code := muster.CodeOf(err)
	if _, known := code.Info(); !known {
		code = muster.CodeInternal
	}
	m.handshakes.WithLabelValues(string(channel), direction(inbound), string(code)).Inc()
}

func (m *metrics) sent(b *batch) {
	m.batches.Inc()
	m.out.packets.Add(float64(b.packets))
	m.out.bytes.Add(float64(len(b.buf.b) - b.packets*frameHead))
}

func (m *metrics) received(bytes int) {
	m.in.packets.Inc()
	m.in.bytes.Add(float64(bytes))
}
